//! The training loop.

use std::time::Instant;

use polytask_data::Step;
use polytask_model::{Evaluation, Example, Model, ModelFolder, evaluate, mean_of_main_metrics};
use polytask_tensor::{Gradient, Gradients, ParameterId, Parameters, Pass};

use crate::observer::{Observer, StepProgress};
use crate::state::{EpochRecord, Progress, Totals};
use crate::step::{BatchResult, train_on};
use crate::{
    Error, OptimizerState, Prepared, Result, average, checkpoint, clip_by_norm, learning_rate_factor,
};

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
    tasks: Vec<String>,
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
    pub fn new(prepared: Prepared, configuration: String) -> Self {
        let parameters = prepared.model.parameters();
        let optimizer_state = OptimizerState::new(prepared.optimizer.as_ref(), parameters);
        let average = (prepared.settings.weight_averaging > 0.0).then(|| copy(parameters));
        let tasks: Vec<String> = prepared.model.config().task_names().map(str::to_string).collect();
        let totals = Totals::new(tasks.len());
        let progress = Progress { current: totals.clone(), total: totals, ..Progress::default() };
        Self { prepared, configuration, optimizer_state, average, progress, tasks }
    }

    /// A run as the checkpoint of a folder left it.
    ///
    /// # Errors
    /// There is no checkpoint, it is damaged, or it was made with another configuration.
    pub fn resume(prepared: Prepared, configuration: String, folder: &ModelFolder) -> Result<Self> {
        let mut trainer = Self::new(prepared, configuration);
        checkpoint::read(&mut trainer, &folder.checkpoint())?;
        Ok(trainer)
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
    /// A loss that is not finite, or a file that cannot be written; what was written before then stays.
    pub fn run(&mut self, folder: &ModelFolder, observer: &mut dyn Observer) -> Result<Ending> {
        let epochs = self.prepared.settings.epochs;
        if self.progress.batches == 0 {
            self.write_configuration(folder)?;
        }
        let mut plan = self.prepared.plan(self.progress.epoch)?;
        observer.started(&self.step_progress(plan.len()));
        while self.progress.epoch < epochs {
            if self.out_of_patience() {
                return Ok(Ending::StoppedEarly);
            }
            if !self.finish_epoch(&plan, observer)? {
                checkpoint::write(self, &folder.checkpoint())?;
                return Ok(Ending::Interrupted);
            }
            self.close_epoch(&plan, folder, observer)?;
            plan = self.prepared.plan(self.progress.epoch)?;
        }
        Ok(Ending::Finished)
    }

    /// The reports of the weights that are kept on all dev data.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn evaluate(&self) -> Result<Evaluation> {
        let examples: Vec<&Example> = self.prepared.sets.iter().flat_map(|set| &set.dev).collect();
        Ok(evaluate(&self.prepared.model, self.kept_parameters(), &examples)?)
    }

    /// Trains the rest of the epoch; false where the observer asked to stop.
    fn finish_epoch(&mut self, plan: &[Step], observer: &mut dyn Observer) -> Result<bool> {
        let accumulation = self.prepared.settings.gradient_accumulation;
        while self.progress.batch < plan.len() {
            let start = Instant::now();
            let from = self.progress.batch;
            let group = &plan[from..plan.len().min(from + accumulation)];
            let mut totals = Totals::new(self.tasks.len());
            let mut gradients: Option<Gradients> = None;
            for (offset, step) in group.iter().enumerate() {
                let result = self.train_batch(step, from + offset)?;
                count(&mut totals, step, &result);
                match (&mut gradients, result.gradients) {
                    (Some(sum), Some(term)) => sum.add(term),
                    (None, first) => gradients = first,
                    (Some(_), None) => {}
                }
            }
            if let Some(gradients) = gradients {
                self.update(gradients, group.len(), plan.len())?;
            }
            self.progress.batch += group.len();
            totals.seconds = start.elapsed().as_secs_f64();
            self.progress.current.add(&totals);
            self.progress.total.add(&totals);
            observer.batch(&self.step_progress(plan.len()));
            if observer.should_stop() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn train_batch(&mut self, step: &Step, batch: usize) -> Result<BatchResult> {
        self.progress.batches += 1;
        let pass = Pass::training(self.prepared.settings.seed, self.progress.batches);
        let set = &self.prepared.sets[step.data_set];
        let examples: Vec<&Example> = step.rows.iter().map(|&row| &set.train[row]).collect();
        let result = train_on(&self.prepared.model, &examples, pass)?;
        let broken =
            result.losses.iter().zip(&self.tasks).find(|(loss, _)| loss.is_some_and(|l| !l.is_finite()));
        match broken {
            Some((loss, task)) => Err(self.not_finite(task, loss.unwrap_or(f64::NAN), batch)),
            None => Ok(result),
        }
    }

    /// One optimizer step with the mean of `batches` gradients.
    fn update(&mut self, mut gradients: Gradients, batches: usize, batches_an_epoch: usize) -> Result<()> {
        let settings = &self.prepared.settings;
        let parameters = self.prepared.model.parameters();
        let mut taken: Vec<((usize, ParameterId), Gradient)> = parameters
            .iter()
            .enumerate()
            .filter_map(|(index, (id, parameter))| Some(((index, id), gradients.take(parameter.tensor())?)))
            .collect();
        if batches > 1 {
            let share = 1.0 / batches as f32;
            taken
                .iter_mut()
                .for_each(|(_, g)| g.update(|values| values.iter_mut().for_each(|v| *v *= share)));
        }
        let norm = clip_by_norm(
            &mut taken.iter_mut().map(|(_, g)| g).collect::<Vec<_>>(),
            settings.gradient_clipping,
        );
        if !norm.is_finite() {
            return Err(self.not_finite("gradient", norm, self.progress.batch));
        }
        let rate = self.learning_rate(batches_an_epoch) as f32;
        self.progress.step += 1;
        let (decay, step) = (settings.weight_averaging, self.progress.step);
        let optimizer = self.prepared.optimizer.as_ref();
        let parameters = self.prepared.model.parameters_mut();
        for (place, gradient) in &taken {
            self.optimizer_state.apply(optimizer, parameters, *place, gradient, (rate, step));
        }
        if let Some(average) = &mut self.average {
            average::update(average, parameters, decay, step);
        }
        Ok(())
    }

    /// The learning rate of the next step.
    fn learning_rate(&self, batches_an_epoch: usize) -> f64 {
        let settings = &self.prepared.settings;
        let steps = batches_an_epoch.div_ceil(settings.gradient_accumulation) as u64 * settings.epochs;
        let warmup_steps = (steps as f64 * f64::from(settings.warmup_ratio)) as u64;
        let factor = learning_rate_factor(settings.schedule, self.progress.step, warmup_steps, steps);
        f64::from(settings.learning_rate) * factor
    }

    /// Measures the epoch and writes what is kept of it.
    fn close_epoch(
        &mut self,
        plan: &[Step],
        folder: &ModelFolder,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let dev = self.evaluate()?;
        let mean_metric = mean_of_main_metrics(&dev);
        let tasks = self.tasks.iter().cloned();
        let losses =
            tasks.zip(self.progress.current.mean_losses()).filter_map(|(task, loss)| Some((task, loss?)));
        let record = EpochRecord {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            learning_rate: self.learning_rate(plan.len()),
            losses: losses.collect(),
            dev,
            mean_metric,
            seconds: self.progress.current.seconds,
        };
        // Without dev data the newest weights are the best known.
        let is_best = match (mean_metric, self.progress.best) {
            (Some(mean), Some(best)) => mean > best,
            _ => true,
        };
        if is_best {
            self.progress.best = mean_metric;
            self.progress.epochs_without_improvement = 0;
            folder.save(&self.prepared.model, self.kept_parameters())?;
            checkpoint::write_json(&folder.metrics(), &record.dev)?;
        } else {
            self.progress.epochs_without_improvement += 1;
        }
        self.progress.history.push(record.clone());
        checkpoint::write_json(&folder.history(), &self.progress.history)?;
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.progress.current = Totals::new(self.tasks.len());
        checkpoint::write(self, &folder.checkpoint())?;
        observer.epoch(&record, is_best);
        Ok(())
    }

    fn write_configuration(&self, folder: &ModelFolder) -> Result<()> {
        checkpoint::write_text(&folder.configuration(), &self.configuration)
    }

    fn out_of_patience(&self) -> bool {
        let patience = self.prepared.settings.early_stopping_patience;
        patience > 0 && self.progress.epochs_without_improvement >= patience
    }

    fn step_progress(&self, batches_an_epoch: usize) -> StepProgress<'_> {
        let epochs = self.prepared.settings.epochs;
        StepProgress { progress: &self.progress, tasks: &self.tasks, batches_an_epoch, epochs }
    }

    fn not_finite(&self, task: &str, loss: f64, batch: usize) -> Error {
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step + 1);
        Error::NotFinite { task: task.into(), loss, epoch, batch: batch + 1, step }
    }
}

fn count(totals: &mut Totals, step: &Step, result: &BatchResult) {
    for ((sum, count), loss) in totals.losses.iter_mut().zip(&mut totals.counts).zip(&result.losses) {
        if let Some(loss) = loss {
            *sum += loss;
            *count += 1;
        }
    }
    totals.tokens += result.tokens;
    totals.padded_tokens += result.padded_tokens;
    totals.examples += step.rows.len() as u64;
}

/// A store of its own with the same values.
fn copy(parameters: &Parameters) -> Parameters {
    let mut copy = parameters.clone();
    for (id, _) in parameters.iter() {
        copy.update(id, |_| {});
    }
    copy
}
