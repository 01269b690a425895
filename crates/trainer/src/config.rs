//! The whole configuration of a training run.

use polytask_config::{Document, Table};
use polytask_data::{DataConfig, Sampler, TokenizerConfig};
use polytask_model::{Adapter, AdapterConfig, ModelConfig, ModelTask, Pooling, TaskAttentionConfig};
use polytask_task::{Task, TaskSettings};

use crate::{FineTuning, Optimizer, Result, TrainerSettings};

/// The sections of a configuration, in the order in which they are documented.
pub const SECTIONS: [&str; 10] = [
    "encoder",
    "adapters",
    "tokenizer",
    "task_attention",
    "data",
    "tasks",
    "sampler",
    "optimizer",
    "trainer",
    "fine_tuning",
];

/// The encoder where `[encoder]` has no `type`.
pub const DEFAULT_ENCODER: &str = "transformer";

/// The sampler where `[sampler]` has no `type`.
pub const DEFAULT_SAMPLER: &str = "proportional";

/// The optimizer where `[optimizer]` has no `type`.
pub const DEFAULT_OPTIMIZER: &str = "adamw";

/// The whole configuration of a training run: one TOML file, read and checked.
#[derive(Debug)]
pub struct Config {
    /// `[encoder]`, `[adapters]`, `[task_attention]` and `[[tasks]]`; the tasks not yet fitted.
    pub model: ModelConfig,
    /// `[tokenizer]`.
    pub tokenizer: TokenizerConfig,
    /// `[[data]]`.
    pub data: Vec<DataConfig>,
    /// `[sampler]`.
    pub sampler: Box<dyn Sampler>,
    /// `[optimizer]`.
    pub optimizer: Box<dyn Optimizer>,
    /// `[trainer]`.
    pub trainer: TrainerSettings,
    /// `[fine_tuning]`.
    pub fine_tuning: FineTuning,
}

impl Config {
    /// Reads a document. Sections that are missing have their defaults; `[[data]]` and `[[tasks]]` are needed.
    ///
    /// # Errors
    /// The first fault, with its place in the file.
    pub fn read(document: &Document) -> Result<Self> {
        let root = document.root();
        root.check_sections(&SECTIONS)?;
        let data = read_data(&root)?;
        let tasks = read_tasks(&root, &data)?;
        check_read(&root, &data, &tasks)?;
        let trainer: TrainerSettings = root.section_or_empty("trainer")?.read()?;
        let adapters = read_adapters(&root, &tasks)?;
        let model = ModelConfig {
            encoder: root.section_or_empty("encoder")?.read_plugin("encoder", Some(DEFAULT_ENCODER))?,
            task_attention: root.section_or_empty("task_attention")?.read()?,
            tasks,
            adapters,
            precision: trainer.precision,
        };
        check_pooling(&root, &model.task_attention)?;
        let tokenizer = read_tokenizer(&root, model.encoder.source().is_some())?;
        Ok(Self {
            model,
            tokenizer,
            data,
            sampler: root.section_or_empty("sampler")?.read_plugin("sampler", Some(DEFAULT_SAMPLER))?,
            optimizer: root
                .section_or_empty("optimizer")?
                .read_plugin("optimizer", Some(DEFAULT_OPTIMIZER))?,
            trainer,
            fine_tuning: root.section_or_empty("fine_tuning")?.read()?,
        })
    }

    /// The label columns that the tasks read of one data set, each once.
    pub fn columns(&self, data_set: &str) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for task in &self.model.tasks {
            if let Some(column) =
                task.settings.label.column(data_set).filter(|c| !columns.iter().any(|k| k == c))
            {
                columns.push(column.to_string());
            }
        }
        columns
    }
}

fn read_data(root: &Table<'_>) -> Result<Vec<DataConfig>> {
    let mut data: Vec<DataConfig> = Vec::new();
    for table in root.sections("data")? {
        let set: DataConfig = table.read()?;
        if set.name.is_empty() || set.name.contains('.') {
            let message =
                "a data set's name must not be empty and holds no dot: tasks name `data set.column`";
            return Err(table.error_at("name", message).into());
        }
        if data.iter().any(|other| other.name == set.name) {
            let message = format!("two data sets are called `{}`: each needs a name of its own", set.name);
            return Err(table.error_at("name", message).into());
        }
        data.push(set);
    }
    if data.is_empty() {
        return Err(root.error_at("data", "no [[data]]: name at least one data set to train on").into());
    }
    Ok(data)
}

fn read_tasks(root: &Table<'_>, data: &[DataConfig]) -> Result<Vec<ModelTask>> {
    let mut tasks: Vec<ModelTask> = Vec::new();
    for table in root.sections("tasks")? {
        let (settings, task): (TaskSettings, Box<dyn Task>) = table.read_shared_and_plugin("task")?;
        if tasks.iter().any(|other| other.settings.name == settings.name) {
            let message = format!("two tasks are called `{}`: each needs a name of its own", settings.name);
            return Err(table.error_at("name", message).into());
        }
        if settings.name.is_empty() || settings.name.contains('.') {
            return Err(table.error_at("name", "a task's name must not be empty and holds no dot").into());
        }
        check_places(&table, &settings, task.level().needs_labels(), data)?;
        tasks.push(ModelTask { settings, task });
    }
    if tasks.is_empty() {
        return Err(root
            .error_at(
                "tasks",
                "no [[tasks]]: name at least one task to learn; only `polytask pretrain` needs none",
            )
            .into());
    }
    Ok(tasks)
}

fn check_pooling(root: &Table<'_>, config: &TaskAttentionConfig) -> Result<()> {
    if config.heads == 1 || config.pooling == Pooling::Attention {
        return Ok(());
    }
    let message = "`heads` is for `pooling = \"attention\"`: leave it out";
    Err(root.error_at("task_attention", message).into())
}

/// A pretrained encoder has a tokenizer: how long a text may be is all that is left to say.
fn read_tokenizer(root: &Table<'_>, is_pretrained: bool) -> Result<TokenizerConfig> {
    let config: TokenizerConfig = root.section_or_empty("tokenizer")?.read()?;
    let plain = TokenizerConfig { max_tokens: config.max_tokens, ..TokenizerConfig::default() };
    if is_pretrained && config != plain {
        let message = "a pretrained encoder brings its own tokenizer: of [tokenizer] set `max_tokens` alone";
        return Err(root.error_at("tokenizer", message).into());
    }
    Ok(config)
}

/// One set of adapters for all tasks, or one a task, where the sizes ask for any.
fn read_adapters(root: &Table<'_>, tasks: &[ModelTask]) -> Result<Vec<Adapter>> {
    let table = root.section_or_empty("adapters")?;
    let config: AdapterConfig = table.read()?;
    if config.lora_rank == 0 && config.bottleneck == 0 {
        // Whoever sets no more than a size to 0 wants none.
        let plain = AdapterConfig { lora_rank: 0, bottleneck: 0, ..AdapterConfig::default() };
        return match config == plain {
            false => {
                let message = "there are no adapters: set `lora_rank` or `bottleneck`";
                Err(root.error_at("adapters", message).into())
            }
            true => Ok(Vec::new()),
        };
    }
    let adapter = |task: Option<String>| Adapter { task, config: config.clone() };
    Ok(match config.per_task {
        true => tasks.iter().map(|task| adapter(Some(task.settings.name.clone()))).collect(),
        false => vec![adapter(None)],
    })
}

fn check_places(
    table: &Table<'_>,
    settings: &TaskSettings,
    needs_labels: bool,
    data: &[DataConfig],
) -> Result<()> {
    let places = settings.label.places();
    if places.is_empty() {
        return Err(table.error_at("label", "an empty list: name at least one `data set.column`").into());
    }
    for (index, &(set, column)) in places.iter().enumerate() {
        let message = match (column, needs_labels) {
            (None, true) => Some(format!("`{set}` names no column: write `data set.column`")),
            (Some(column), false) => {
                Some(format!("`{set}.{column}`: this task reads no labels: name the data set alone, `{set}`"))
            }
            _ => DataConfig::named(data, set).err().map(|error| match column {
                Some(column) => format!("`{set}.{column}`: {error}"),
                None => error.to_string(),
            }),
        };
        if let Some(message) = message {
            return Err(table.error_at("label", message).into());
        }
        if places[..index].iter().any(|(other, _)| *other == set) {
            let message = format!("names data set `{set}` twice: a task reads one column of each data set");
            return Err(table.error_at("label", message).into());
        }
    }
    Ok(())
}

/// Refuses a data set that no task reads: its texts would fill batches from which nothing is learnt.
fn check_read(root: &Table<'_>, data: &[DataConfig], tasks: &[ModelTask]) -> Result<()> {
    let is_read = |set: &DataConfig| tasks.iter().any(|task| task.settings.label.names(&set.name));
    for (set, table) in data.iter().zip(root.sections("data")?) {
        if !is_read(set) {
            let name = &set.name;
            let message = format!(
                "no task reads data set `{name}`: name `{name}.COLUMN` as a `label`, or leave it out"
            );
            return Err(table.error_at("name", message).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_classification as _;

    /// The message about a configuration with the data sets `s` and `r`, a task on `label`, and another one on `r`.
    fn refusal(first_set: &str, label: &str) -> String {
        let text = format!(
            "data = [{{ name = '{first_set}', train = 'x' }}, {{ name = 'r', train = 'x' }}]\n\
             [[tasks]]\nname = 'a'\ntype = 'classification'\nlabel = {label}\n\
             [[tasks]]\nname = 'b'\ntype = 'classification'\nlabel = 'r.m'\n"
        );
        let read = |text: &str| Config::read(&Document::parse("train.toml", text)?);
        read(&text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_task_reads_each_data_set_once() {
        assert_eq!(refusal("s", "['s.m', 'r.m']"), "");
        let expected = "train.toml:5:9: names data set `s` twice: a task reads one column of each data set";
        assert_eq!(refusal("s", "['s.m', 's.n']"), expected);
    }

    #[test]
    fn a_data_set_must_have_a_name_that_a_label_can_hold() {
        for name in ["", "a.b"] {
            let message = refusal(name, "'r.m'");
            assert!(message.starts_with("train.toml:1:18: a data set's name must not be empty"), "{message}");
        }
    }

    #[test]
    fn adapters_are_shared_or_one_a_task() {
        let adapters = |section: &str| {
            let text = format!(
                "data = [{{ name = 's', train = 'x' }}]\n[adapters]\n{section}\n\
                 [[tasks]]\nname = 'a'\ntype = 'classification'\nlabel = 's.m'\n\
                 [[tasks]]\nname = 'b'\ntype = 'classification'\nlabel = 's.n'\n"
            );
            let config = Config::read(&Document::parse("train.toml", &text).unwrap());
            let tasks =
                |config: Config| config.model.adapters.into_iter().map(|a| a.task).collect::<Vec<_>>();
            config.map(tasks).map_err(|error| error.to_string())
        };
        assert_eq!(adapters(""), Ok(vec![]));
        assert_eq!(adapters("lora_rank = 8"), Ok(vec![None]));
        let both = vec![Some("a".into()), Some("b".into())];
        assert_eq!(adapters("bottleneck = 4\nper_task = true"), Ok(both));
        for (section, message) in [
            ("per_task = true", "train.toml:2:1: there are no adapters: set `lora_rank` or `bottleneck`"),
            ("lora_alpha = 32", "train.toml:2:1: there are no adapters: set `lora_rank` or `bottleneck`"),
            ("lora_rank = -1", "train.toml:3:13: `lora_rank` in [adapters]: expected integer from 0 to 1024"),
            ("lora_alpha = 0", "train.toml:3:14: `lora_alpha` in [adapters]: expected number from 0.001"),
            ("lora_dropout = 1", "train.toml:3:16: `lora_dropout` in [adapters]: expected number from 0"),
            ("rank = 8", "train.toml:3:1: unknown key `rank` in [adapters]"),
        ] {
            let found = adapters(section).unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn keys_that_would_do_nothing_are_refused() {
        let refusal = |sections: &str| {
            let text = format!(
                "data = [{{ name = 's', train = 'x' }}]\n{sections}\n\
                 [[tasks]]\nname = 'a'\ntype = 'classification'\nlabel = 's.m'\n"
            );
            let config = Config::read(&Document::parse("train.toml", &text).unwrap());
            config.map_or_else(|error| error.to_string(), |_| String::new())
        };
        let pretrained = "[encoder]\ntype = 'pretrained'\npath = 'x'\n[tokenizer]";
        assert_eq!(refusal(&format!("{pretrained}\nmax_tokens = 64")), "");
        let message = refusal(&format!("{pretrained}\nlowercase = false"));
        assert!(
            message.starts_with("train.toml:5:1: a pretrained encoder brings its own tokenizer"),
            "{message}"
        );
        let message = refusal("[task_attention]\npooling = 'mean'\nheads = 2");
        assert_eq!(message, "train.toml:2:1: `heads` is for `pooling = \"attention\"`: leave it out");
    }

    #[test]
    fn a_data_set_that_no_task_reads_is_refused() {
        let message = refusal("s", "'r.m'");
        assert!(message.starts_with("train.toml:1:18: no task reads data set `s`: "), "{message}");
    }

    #[test]
    fn an_unknown_data_set_gets_its_neighbour() {
        let message = refusal("reviews", "'review.m'");
        let expected = "train.toml:5:9: `review.m`: no data set is called `review` (there are: reviews, r); did you mean `reviews`?";
        assert_eq!(message, expected);
    }
}
