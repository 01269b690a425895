use std::path::PathBuf;

/// What preparing or training refuses, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] polytask_config::Error),
    /// Reading or tokenizing data.
    #[error(transparent)]
    Data(#[from] polytask_data::Error),
    /// A pretrained encoder's folder.
    #[error(transparent)]
    Encoder(#[from] polytask_encoder::Error),
    /// Where a pretrained encoder lies, or fetching it.
    #[error(transparent)]
    Hub(#[from] polytask_hub::Error),
    /// The model, its tasks or its folder.
    #[error(transparent)]
    Model(#[from] polytask_model::Error),
    /// An operation or a tensor file.
    #[error(transparent)]
    Tensor(#[from] polytask_tensor::Error),
    /// A task that finds no label where its configuration points.
    #[error(
        "data set `{data_set}` has no label for task `{task}`: column `{column}` is empty in all {rows} training rows"
    )]
    NoLabels {
        /// The data set.
        data_set: String,
        /// The task.
        task: String,
        /// The column.
        column: String,
        /// The rows read.
        rows: usize,
    },
    /// A task that cannot learn from its labels.
    #[error("task `{task}`: {source:#}")]
    Fit {
        /// The task.
        task: String,
        /// What it said.
        source: anyhow::Error,
    },
    /// Adapters beside an encoder that is trained from scratch.
    #[error(
        "[adapters] freezes the encoder's own weights, but these have learnt nothing yet: take a `type = \"pretrained\"` \
         encoder, or leave [adapters] out"
    )]
    NothingToAdapt,
    /// A task to be added whose name is taken.
    #[error("the model has a task `{name}` already: give the new one another name, such as `{suggestion}`")]
    TaskExists {
        /// The name.
        name: String,
        /// One that is free.
        suggestion: String,
    },
    /// A model whose weights cannot be trained beside.
    #[error(
        "no task can be added to a model of 8-bit integers: add it to the one that it was quantized from"
    )]
    Quantized,
    /// A loss that is no number any more.
    #[error(
        "the loss of task `{task}` is {loss} in batch {batch} of epoch {epoch} (step {step}); training stopped, the last \
         checkpoint stays. Try a lower `learning_rate`, a longer warm-up or `gradient_clipping`"
    )]
    NotFinite {
        /// The task.
        task: String,
        /// The value found.
        loss: f64,
        /// The epoch, from 1.
        epoch: u64,
        /// The batch in the epoch, from 1.
        batch: usize,
        /// The optimizer step, from 1.
        step: u64,
    },
    /// Gradients that are no numbers any more, though the losses are.
    #[error(
        "the norm of the gradients is {norm} in step {step} (epoch {epoch}), though all losses are finite; training \
         stopped, the last checkpoint stays. Try a lower `learning_rate` or a longer warm-up"
    )]
    GradientNotFinite {
        /// The norm of all gradients.
        norm: f64,
        /// The epoch, from 1.
        epoch: u64,
        /// The optimizer step, from 1.
        step: u64,
    },
    /// A checkpoint that belongs to another configuration.
    #[error(
        "{file}: made with another configuration: {difference}; train into another folder, or restore the configuration to resume"
    )]
    OtherConfiguration {
        /// The checkpoint.
        file: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// A checkpoint that belongs to other data.
    #[error(
        "{file}: the training data changed since the checkpoint was made; train into another folder, or restore the data to resume"
    )]
    OtherData {
        /// The checkpoint.
        file: PathBuf,
    },
    /// A checkpoint that cannot be understood.
    #[error("{file}: damaged checkpoint: {message}")]
    Checkpoint {
        /// The checkpoint.
        file: PathBuf,
        /// What the reader found.
        message: String,
    },
    /// Nothing to resume.
    #[error("{file}: no checkpoint to resume from; start without --resume")]
    NoCheckpoint {
        /// The file looked for.
        file: PathBuf,
    },
    /// Several ranks were started of a program that knows of one.
    #[error(
        "`{variable}` says that {ranks} ranks were started, but this program was built without MPI, and each would train and \
         write as if it were alone: build it with `--features mpi`, start the ranks with `torchrun`, or start one process and \
         unset `{variable}`"
    )]
    WithoutMpi {
        /// The variable of the environment.
        variable: &'static str,
        /// The ranks, at least.
        ranks: usize,
    },
    /// Several ranks were started that do not know how to find each other.
    #[error(
        "`WORLD_SIZE` says that {ranks} ranks were started, but `{variable}` is missing or no number that can be used: start \
         them with `torchrun`, or start one process and unset `WORLD_SIZE`"
    )]
    LauncherVariable {
        /// The ranks.
        ranks: usize,
        /// The variable of the environment.
        variable: &'static str,
    },
    /// Ranks that the MPI library does not know of.
    #[error(
        "`{variable}` says that {expected} ranks were started, but MPI found {found}: start them with `mpirun` of the MPI \
         library that the program was built with, or unset `{variable}`"
    )]
    OtherRanks {
        /// The variable of the environment.
        variable: &'static str,
        /// The ranks that it speaks of.
        expected: usize,
        /// The ranks of MPI.
        found: usize,
    },
    /// A rank that does not train the same.
    #[error(
        "rank {rank} has other data, another configuration or another checkpoint than rank 0: start all ranks with the same \
         command, and let all read the same files"
    )]
    RanksDiffer {
        /// The rank.
        rank: usize,
    },
    /// Ranks of which some compute on a GPU.
    #[error(
        "rank {rank} computes on the processor and others on GPUs, which round otherwise: their models would drift apart. Start \
         as many ranks as there are GPUs, or set device = \"cpu\""
    )]
    RankWithoutGpu {
        /// The first without a GPU.
        rank: usize,
    },
    /// What ranks say to each other does not come through.
    #[error("communication between ranks: {0}")]
    Communication(String),
    /// A folder that is in use.
    #[error(
        "{folder}: holds a model or checkpoint already; add --resume to go on with it, or choose another folder"
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
