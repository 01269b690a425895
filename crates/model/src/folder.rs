//! The model folder: complete in itself, and never half written.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use polytask_data::Tokenizer;
use polytask_tensor::{Parameters, TensorFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Evaluation, Model, ModelConfig, Result};

/// The newest format that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MODEL: &str = "model.json";
const TOKENIZER: &str = "tokenizer.json";
const PARAMETERS: &str = "model.safetensors";

/// Where each file of a model folder lies.
///
/// | file | what |
/// |---|---|
/// | `model.json` | format version, encoder, tasks with their labels |
/// | `tokenizer.json` | the tokenizer |
/// | `model.safetensors` | the parameters |
/// | `config.toml` | the configuration that it was trained with |
/// | `metrics.json` | the report of each task on the dev data |
/// | `history.json` | losses and metrics epoch by epoch |
/// | `checkpoint.safetensors` | the state of training, to resume; not needed to predict |
#[derive(Clone, Debug)]
pub struct ModelFolder(PathBuf);

#[derive(Serialize, Deserialize)]
struct Description<C> {
    format_version: u32,
    polytask: String,
    #[serde(flatten)]
    config: C,
}

/// Read first, so that a newer format is told from a damaged file.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl ModelFolder {
    /// A folder, whether it exists or not.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that describes the model: where it is, there is a model.
    pub fn model(&self) -> PathBuf {
        self.0.join(MODEL)
    }

    /// The parameters' file.
    pub fn parameters(&self) -> PathBuf {
        self.0.join(PARAMETERS)
    }

    /// Whether a model or a run lies here that others must not write over; a pretrained encoder's folder has a file of the
    /// same name as the parameters'.
    pub fn is_used(&self) -> bool {
        [self.model(), self.checkpoint(), self.parameters()].iter().any(|file| file.exists())
    }

    /// The training configuration's file.
    pub fn configuration(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The dev reports' file.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.json")
    }

    /// The training history's file.
    pub fn history(&self) -> PathBuf {
        self.0.join("history.json")
    }

    /// The training state's file.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// Writes the model with the given parameters: its own, or an average of them.
    ///
    /// # Errors
    /// A file cannot be written; what was there before then stays.
    pub fn save(&self, model: &Model, parameters: &Parameters) -> Result<()> {
        let description = Description {
            format_version: FORMAT_VERSION,
            polytask: env!("CARGO_PKG_VERSION").into(),
            config: model.config(),
        };
        let file = self.0.join(MODEL);
        let json = serde_json::to_vec_pretty(&description)
            .map_err(|error| Error::Damaged { file: file.clone(), message: error.to_string() })?;
        let tokenizer = model.tokenizer().to_json()?;
        write_file(&file, &json)?;
        write_file(&self.0.join(TOKENIZER), tokenizer.as_bytes())?;
        write_atomically(&self.parameters(), |path| Ok(parameters.write(path)?))
    }

    /// Reads the model.
    ///
    /// # Errors
    /// No model is there, its format is newer, a type of it is not linked into this program, or a file is damaged.
    pub fn load(&self) -> Result<Model> {
        let file = self.0.join(MODEL);
        let json = self.read(MODEL)?;
        let damaged =
            |error: serde_json::Error| Error::Damaged { file: file.clone(), message: error.to_string() };
        let version: Version = serde_json::from_str(&json).map_err(damaged)?;
        if version.format_version > FORMAT_VERSION {
            return Err(Error::NewerFormat { file, found: version.format_version, known: FORMAT_VERSION });
        }
        let description = serde_json::from_str(&json).map_err(|error| match not_linked(&json) {
            Some(source) => Error::NotLinked { file: file.clone(), source },
            None => damaged(error),
        });
        let description: Description<ModelConfig> = description?;
        let tokenizer = Tokenizer::from_json(&self.read(TOKENIZER)?)
            .map_err(|error| Error::Damaged { file: self.0.join(TOKENIZER), message: error.to_string() })?;
        if !self.parameters().exists() {
            return Err(Error::NoModel { folder: self.0.clone(), missing: PARAMETERS });
        }
        let tokenizer = match description.config.encoder.source() {
            Some(_) => tokenizer.for_whole_texts(),
            None => tokenizer,
        };
        let parameters = TensorFile::read(&self.parameters())?;
        Model::from_file(description.config, tokenizer, &parameters)
    }

    /// The reports on the dev data of the model that was kept; `None` where there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn evaluation(&self) -> Result<Option<Evaluation>> {
        let file = self.metrics();
        match fs::read_to_string(&file) {
            Ok(json) => serde_json::from_str(&json)
                .map(Some)
                .map_err(|error| Error::Damaged { file, message: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { file, source }),
        }
    }

    fn read(&self, name: &'static str) -> Result<String> {
        let file = self.0.join(name);
        fs::read_to_string(&file).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NoModel { folder: self.0.clone(), missing: name },
            _ => Error::Io { file, source },
        })
    }
}

/// The first encoder or task type of a model's description that nothing in this program has registered.
fn not_linked(json: &str) -> Option<polytask_config::Error> {
    let description: Value = serde_json::from_str(json).ok()?;
    let tasks = description["tasks"].as_array()?.iter().map(|task| ("task", &task["task"]));
    let plugins = std::iter::once(("encoder", &description["encoder"])).chain(tasks);
    plugins.filter_map(|(kind, plugin)| polytask_config::plugin(kind, plugin["type"].as_str()?).err()).next()
}

/// Puts a file with this content in its place in one step, as [`write_atomically`] does.
///
/// # Errors
/// Whatever the file system refuses; `file` is then as it was.
pub fn write_file(file: &Path, content: &[u8]) -> Result<()> {
    write_atomically(file, |path| {
        fs::write(path, content).map_err(|source| Error::Io { file: path.into(), source })
    })
}

/// Lets `write` fill a temporary file beside `file`, then puts it in its place in one step: a reader sees the old file
/// or the new one, whole, also after a crash.
///
/// # Errors
/// Whatever `write` or the file system refuses; `file` is then as it was.
pub fn write_atomically(file: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let io = |source| Error::Io { file: file.into(), source };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(io)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = file.with_file_name(name);
    let finish = || {
        write(&temporary)?;
        // Windows syncs only what is open for writing.
        let written = File::options().write(true).open(&temporary).map_err(io)?;
        written.sync_all().map_err(io)?;
        fs::rename(&temporary, file).map_err(io)
    };
    finish().inspect_err(|_| {
        // The fault itself is what the caller must hear of.
        let _ = fs::remove_file(&temporary);
    })
}
