use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::string::FromUtf8Error;

use anyhow::{Context, Result, anyhow, ensure};
use polytask_model::{Device, Model, ModelFolder, Precision};

/// Bytes of standard input that are read at a time: some batches of lines.
const BUFFER: usize = 64 * 1024;

/// What some editors write before the first line.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Answers texts, one JSON object a text and line.
///
/// Without texts in the arguments, each line of standard input is a text, answered as soon as it is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// The model folder.
    folder: PathBuf,
    /// The texts.
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Only these tasks, in this order; separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = trimmed)]
    tasks: Vec<String>,
    /// Adds where each text-level task looked: a weight for each word.
    #[arg(long)]
    attention: bool,
    /// Computes products in these numbers instead of those that the model was trained in.
    #[arg(long, value_enum)]
    precision: Option<PrecisionArgument>,
    /// On what to compute: cpu, cuda or cuda:NUMBER.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Texts at a time, at most.
    #[arg(long, default_value = "32")]
    batch: NonZeroUsize,
}

/// [`Precision`] as an argument.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PrecisionArgument {
    /// 24 bits of mantissa.
    F32,
    /// 10 bits of mantissa on a GPU, sums in f32.
    Tf32,
    /// 8 bits of mantissa, sums in f32.
    Bf16,
}

impl From<PrecisionArgument> for Precision {
    fn from(precision: PrecisionArgument) -> Self {
        match precision {
            PrecisionArgument::F32 => Precision::F32,
            PrecisionArgument::Tf32 => Precision::Tf32,
            PrecisionArgument::Bf16 => Precision::Bf16,
        }
    }
}

fn trimmed(name: &str) -> Result<String, Infallible> {
    Ok(name.trim().to_owned())
}

impl Predict {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let mut model = ModelFolder::new(&self.folder).load()?;
        if let Some(precision) = self.precision {
            ensure!(
                !model.is_quantized(),
                "{} is a model of 8-bit integers: leave out --precision, or give the model that it was made of",
                self.folder.display()
            );
            model.set_precision(precision.into());
        }
        model.parameters_mut().move_to(self.device)?;
        let answering =
            Answering { tasks: model.tasks_named(&self.tasks)?, attention: self.attention, model };
        // From within the thread pool, handing out work wakes nobody who waits outside.
        rayon::scope(|_| self.answer(&answering))?;
        Ok(ExitCode::SUCCESS)
    }

    fn answer(&self, answering: &Answering) -> Result<()> {
        let mut output = BufWriter::new(io::stdout().lock());
        if self.texts.is_empty() {
            let mut lines = Lines::new(io::stdin().lock());
            return answering.answer_lines(&mut lines, self.batch.get(), &mut output);
        }
        self.texts.chunks(self.batch.get()).try_for_each(|texts| answering.answer(texts, &mut output))
    }
}

struct Answering {
    model: Model,
    tasks: Vec<usize>,
    attention: bool,
}

impl Answering {
    /// Writes the answers to some texts.
    fn answer(&self, texts: &[String], output: &mut impl Write) -> Result<()> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for answer in self.model.predict(&texts, &self.tasks, self.attention)? {
            writeln!(output, "{}", serde_json::to_string(&answer)?)?;
        }
        Ok(output.flush()?)
    }

    /// Writes the answers to all lines, as many at a time as are there already, at most `batch`.
    fn answer_lines(
        &self,
        lines: &mut Lines<impl Read>,
        batch: usize,
        output: &mut impl Write,
    ) -> Result<()> {
        loop {
            let (texts, end) = lines.next_batch(batch);
            if !texts.is_empty() {
                self.answer(&texts, output)?;
            }
            match end {
                End::More => {}
                End::Finished => return Ok(()),
                End::Failed(error) => return Err(error),
            }
        }
    }
}

/// The lines of a reader, counted.
struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
}

/// What comes after a batch of lines.
enum End {
    More,
    Finished,
    Failed(anyhow::Error),
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), number: 0 }
    }

    /// Waits for one line, and takes what else is there already.
    fn next_batch(&mut self, most: usize) -> (Vec<String>, End) {
        let mut batch = Vec::new();
        while batch.is_empty() || batch.len() < most && self.reader.buffer().contains(&b'\n') {
            match self.next() {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => return (batch, End::Finished),
                Err(error) => return (batch, End::Failed(error)),
            }
        }
        (batch, End::More)
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.number += 1;
        let place = || format!("standard input, line {}", self.number);
        if self.reader.read_until(b'\n', &mut bytes).with_context(place)? == 0 {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let invalid = |error: FromUtf8Error| {
            let position = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(position).copied().unwrap_or_default();
            anyhow!("{}: not UTF-8 (byte 0x{byte:02x}); convert the input to UTF-8", place())
        };
        let mut line = String::from_utf8(bytes).map_err(invalid)?;
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.remove(0);
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that gives one piece a read.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            self.0.remove(0).read(buffer)
        }
    }

    fn batches(pieces: &[&'static [u8]], most: usize) -> (Vec<Vec<String>>, Option<String>) {
        let mut lines = Lines::new(Pieces(pieces.to_vec()));
        let mut batches = Vec::new();
        loop {
            let (batch, end) = lines.next_batch(most);
            batches.extend((!batch.is_empty()).then_some(batch));
            match end {
                End::More => {}
                End::Finished => return (batches, None),
                End::Failed(error) => return (batches, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_line_does_not_wait_for_the_next() {
        let (batches, error) = batches(&[b"\xef\xbb\xbfa\nb\r\n\nc\n", b"d\n", b"e"], 3);
        assert_eq!(batches, [vec!["a", "b", ""], vec!["c"], vec!["d"], vec!["e"]]);
        assert_eq!(error, None);
    }

    #[test]
    fn a_line_that_is_no_text_is_named_after_those_before_it() {
        let (batches, error) = batches(&[b"a\nb\nc \xff\nd\n"], 32);
        assert_eq!(batches, [["a", "b"]]);
        assert_eq!(
            error.unwrap(),
            "standard input, line 3: not UTF-8 (byte 0xff); convert the input to UTF-8"
        );
    }
}
