//! The training loop.

mod epoch;
mod unread;

use std::sync::Arc;
use std::time::Instant;

use polytask_data::Step;
use polytask_model::{LabelledBatch, Model, ModelFolder, write_file};
use polytask_tensor::{
    Capture, Device, GpuRanks, Gradient, GradientNorm, Gradients, ParameterId, Parameters, Pass,
};

use crate::fingerprint::fingerprint;
use crate::observer::{Observer, StepProgress};
use crate::planned::Planned;
use crate::ranks::{any, check_alike, join_gpus, part, sum_gradients};
use crate::state::{Progress, Totals};
use crate::step::{BatchResult, train_on};
use crate::{
    Alone, Communicator, OptimizerState, Prepared, Result, Update, average, checkpoint, clipping_factor,
    gradient_norm, learning_rate_factor,
};

use unread::{Unread, check_norm};

/// A training run: everything that changes while it goes on, and what it goes by.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) prepared: Prepared,
    /// The configuration as text: what a checkpoint must have been made with.
    pub(crate) configuration: String,
    pub(crate) optimizer_state: OptimizerState,
    /// The averaged weights, where they are asked for.
    pub(crate) average: Option<Parameters>,
    pub(crate) progress: Progress,
    /// Of the data: a checkpoint must have been made with the same.
    pub(crate) fingerprint: u64,
    tasks: Vec<String>,
    planned: Planned,
    /// Who shares the batches.
    ranks: Arc<dyn Communicator>,
    /// The ranks' GPUs while they train, where they are joined.
    gpus: Option<GpuRanks>,
    device: Device,
    /// Why it is not a GPU, where one was looked for.
    no_gpu: Option<String>,
    unread: Vec<Unread>,
}

/// How a call to [`Trainer::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs were trained.
    Finished,
    /// The dev metrics no longer got better.
    StoppedEarly,
    /// The observer asked to stop; the checkpoint holds the state.
    Interrupted,
}

impl Trainer {
    /// A run at its start. `configuration` is the text of the configuration, kept in the model folder.
    ///
    /// # Errors
    /// The sampler names a data set without batches, or the device cannot be used.
    pub fn new(mut prepared: Prepared, configuration: String) -> Result<Self> {
        let (device, reason) = prepared.settings.device.open()?;
        prepared.model.parameters_mut().move_to(device)?;
        let (fingerprint, planned) = (fingerprint(&prepared)?, Planned::of(&prepared)?);
        let parameters = prepared.model.parameters();
        let factors = prepared.fine_tuning.learning_rate_factors(parameters);
        let mut optimizer_state =
            OptimizerState::new(prepared.optimizer.as_ref(), parameters).with_learning_rate_factors(factors);
        let average = (prepared.settings.weight_averaging > 0.0).then(|| all_trained(parameters));
        optimizer_state.move_to(device)?;
        let tasks: Vec<String> = prepared.model.config().task_names().map(str::to_string).collect();
        let totals = Totals::new(tasks.len());
        let progress = Progress { current: totals.clone(), total: totals, ..Progress::default() };
        let ranks = Arc::new(Alone);
        Ok(Self {
            prepared,
            configuration,
            optimizer_state,
            average,
            progress,
            fingerprint,
            tasks,
            planned,
            ranks,
            gpus: None,
            device,
            no_gpu: reason.map(|reason| reason.to_string()),
            unread: Vec::new(),
        })
    }

    /// The same run as one of several ranks, each of which makes such a trainer of the same configuration and data.
    ///
    /// They share each batch, and rank 0 alone writes, measures and tells its observer; the observers of all are asked whether
    /// to stop.
    pub fn with_ranks(self, ranks: Arc<dyn Communicator>) -> Self {
        Self { ranks, ..self }
    }

    /// A run as the checkpoint of a folder left it.
    ///
    /// # Errors
    /// There is no checkpoint, it is damaged, or it was made with another configuration or other data. The number of
    /// threads may differ, whether activations are recomputed, whether steps are CUDA graphs, and comments.
    pub fn resume(prepared: Prepared, configuration: String, folder: &ModelFolder) -> Result<Self> {
        let mut trainer = Self::new(prepared, configuration)?;
        checkpoint::read(&mut trainer, &folder.checkpoint())?;
        let Prepared { model, fine_tuning, .. } = &mut trainer.prepared;
        fine_tuning.set_trained(model.parameters_mut(), trainer.progress.epoch);
        Ok(trainer)
    }

    /// Where the parameters lie.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Why it is the processor although a GPU was looked for.
    pub fn no_gpu(&self) -> Option<&str> {
        self.no_gpu.as_deref()
    }

    /// The model as it stands.
    pub fn model(&self) -> &Model {
        &self.prepared.model
    }

    /// The weights that are measured and kept: the average, or the model's own.
    pub fn kept_parameters(&self) -> &Parameters {
        self.average.as_ref().unwrap_or(self.prepared.model.parameters())
    }

    /// Counts, losses and history.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Trains to the end, writing the best model, the history and a checkpoint into the folder after every epoch.
    ///
    /// # Errors
    /// A loss that is not finite, or a file that cannot be written; what was written before then stays. Of several ranks the
    /// others may still wait for this one: [`abort`](Communicator::abort) ends them.
    pub fn run(&mut self, folder: &ModelFolder, observer: &mut (dyn Observer + Send)) -> Result<Ending> {
        // From within the thread pool, handing out work wakes nobody who waits outside.
        let ending = rayon::scope(|_| self.train(folder, observer))?;
        // No rank is done before all files are written.
        any(self.ranks.as_ref(), false)?;
        Ok(ending)
    }

    fn train(&mut self, folder: &ModelFolder, observer: &mut dyn Observer) -> Result<Ending> {
        let epochs = self.prepared.settings.epochs;
        check_alike(self.ranks.as_ref(), &self.start())?;
        let (gpus, reason) = join_gpus(self.ranks.as_ref(), self.device)?;
        self.gpus = gpus;
        if self.leads() {
            if let Some(reason) = reason {
                observer.gpus_apart(&reason);
            }
            if self.progress.batches == 0 {
                write_file(&folder.configuration(), self.configuration.as_bytes())?;
            }
            observer.started(&self.step_progress());
        }
        while self.progress.epoch < epochs {
            if any(self.ranks.as_ref(), self.leads() && self.out_of_patience())? {
                return Ok(Ending::StoppedEarly);
            }
            let Prepared { model, fine_tuning, .. } = &mut self.prepared;
            fine_tuning.set_trained(model.parameters_mut(), self.progress.epoch);
            let plan = self.prepared.plan(self.progress.epoch)?;
            if !self.finish_epoch(&plan, observer)? {
                if self.leads() {
                    checkpoint::write(self, &folder.checkpoint())?;
                }
                return Ok(Ending::Interrupted);
            }
            self.close_epoch(folder, observer)?;
        }
        Ok(Ending::Finished)
    }

    /// Trains the rest of the epoch; false where the observer asked to stop.
    fn finish_epoch(&mut self, plan: &[Step], observer: &mut dyn Observer) -> Result<bool> {
        let accumulation = self.prepared.settings.gradient_accumulation.max(1);
        let mut packed = self.pack(plan, self.progress.batch);
        while self.progress.batch < plan.len() {
            let start = Instant::now();
            let from = self.progress.batch;
            let group = &plan[from..plan.len().min(from.saturating_add(accumulation))];
            let mut totals = Totals::new(self.tasks.len());
            let mut sum = Gradients::default();
            let mut terms = 0;
            let is_graph = self.prepared.settings.cuda_graphs;
            let capture = if is_graph { Capture::begin(self.device)? } else { None };
            for (offset, step) in group.iter().enumerate() {
                let train = &self.prepared.sets[step.data_set].train;
                totals.count_texts(step.rows.iter().map(|&row| train[row].encoded.pieces()));
                let (gradients, next) = self.train_batch(plan, from + offset, &packed)?;
                packed = next;
                if let Some(gradients) = gradients {
                    sum.add(gradients)?;
                    terms += 1;
                }
            }
            if terms > 0 {
                self.update(sum, terms)?;
            }
            capture.map_or(Ok(()), Capture::launch)?;
            self.progress.batch += group.len();
            totals.seconds = start.elapsed().as_secs_f64();
            self.progress.current.add(&totals);
            self.progress.total.add(&totals);
            if self.leads() {
                observer.batch(&self.step_progress());
            }
            if any(self.ranks.as_ref(), observer.should_stop())? {
                self.read_results()?;
                return Ok(false);
            }
        }
        self.read_results()?;
        Ok(true)
    }

    /// The gradients of a batch, `None` where nothing can be learnt from it; and the one after it, packed meanwhile.
    fn train_batch(
        &mut self,
        plan: &[Step],
        batch: usize,
        packed: &LabelledBatch,
    ) -> Result<(Option<Gradients>, LabelledBatch)> {
        self.progress.batches += 1;
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        // Each rank's pass is one of its own, with its own random numbers.
        let pass = self.progress.batches * size as u64 + rank as u64;
        let pass = Pass::training(self.prepared.settings.seed, pass);
        let (model, ranks) = (&self.prepared.model, self.ranks.as_ref());
        let (result, next) =
            rayon::join(|| train_on(model, packed, pass, ranks), || self.pack(plan, batch + 1));
        let BatchResult { losses, gradients } = result?;
        self.keep_unread(losses, batch)?;
        Ok((gradients, next))
    }

    /// This rank's part of a batch; an empty one behind the last batch of the plan.
    fn pack(&self, plan: &[Step], batch: usize) -> LabelledBatch {
        let own = |Step { data_set, rows }: &Step| {
            let own = part(rows.len(), self.ranks.rank(), self.ranks.size());
            rows[own].iter().map(|&row| &self.prepared.sets[*data_set].train[row]).collect::<Vec<_>>()
        };
        self.prepared.model.labelled_batch(&plan.get(batch).map(own).unwrap_or_default())
    }

    /// One optimizer step with the mean of some batches' gradients, given their sum and their number.
    fn update(&mut self, mut sum: Gradients, terms: usize) -> Result<()> {
        let learning_rate = self.learning_rate(self.progress.step) as f32;
        let settings = &self.prepared.settings;
        let parameters = self.prepared.model.parameters_mut();
        let gradients: Vec<(ParameterId, Gradient)> = parameters
            .iter()
            .filter_map(|(id, parameter)| Some((id, sum.take(parameter.tensor())?)))
            .collect();
        let gradients = sum_gradients(self.ranks.as_ref(), self.gpus.as_ref(), parameters, gradients)?;
        let (decay, clipping, step) =
            (settings.weight_averaging, settings.gradient_clipping, self.progress.step + 1);
        let all = || gradients.iter().map(|(_, gradient)| gradient);
        let update = |gradient_factor| Update { learning_rate, step, gradient_factor, decays: true };
        let optimizer = self.prepared.optimizer.as_ref();
        let unread = GradientNorm::of(all(), terms, clipping)?;
        if let Some(norm) = &unread {
            self.optimizer_state.apply_on_gpu(optimizer, parameters, &gradients, update(1.0), norm)?;
        } else {
            let norm = gradient_norm(all()) / terms as f64;
            check_norm(norm, self.progress.epoch + 1, step)?;
            let factor = clipping_factor(norm, clipping) / terms as f32;
            self.optimizer_state.apply(optimizer, parameters, &gradients, update(factor))?;
        }
        self.progress.step = step;
        if let Some(average) = &mut self.average {
            average::update(average, parameters, decay, step)?;
        }
        unread.map_or(Ok(()), |norm| self.keep_unread_norm(norm))
    }

    /// The learning rate of a step, counted from 0.
    fn learning_rate(&self, step: u64) -> f64 {
        let (settings, steps) = (&self.prepared.settings, self.planned.steps);
        let warmup_steps = (steps as f64 * f64::from(settings.warmup_ratio)) as u64;
        f64::from(settings.learning_rate) * learning_rate_factor(settings.schedule, step, warmup_steps, steps)
    }

    /// Whether this is the rank that writes, measures and decides.
    fn leads(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// What must be the same on all ranks before they train.
    fn start(&self) -> Vec<u8> {
        let counts = [self.fingerprint, self.progress.batches, self.progress.step];
        [bytemuck::cast_slice(&counts), self.configuration.as_bytes()].concat()
    }

    fn step_progress(&self) -> StepProgress<'_> {
        let (batches, epochs) = (self.planned.batches, self.prepared.settings.epochs);
        StepProgress { progress: &self.progress, tasks: &self.tasks, batches, epochs }
    }
}

/// The same values with nothing frozen: what is frozen now may be trained later.
fn all_trained(parameters: &Parameters) -> Parameters {
    let mut all = parameters.clone();
    let ids: Vec<ParameterId> = all.iter().map(|(id, _)| id).collect();
    ids.into_iter().for_each(|id| all.set_trained(id, true));
    all
}
