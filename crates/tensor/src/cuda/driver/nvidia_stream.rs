//! The stream of an NVIDIA GPU, from which work is captured and run as CUDA graphs.
//!
//! All work is one chain, since it comes from one stream. An executable graph takes other kernels, arguments, grids and
//! addresses, but no other kinds of nodes (<https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html>,
//! `cuGraphExecUpdate`). So one is kept for every sequence of kinds, and updated with what was captured: batches differ in
//! sizes and addresses, and seldom in more. Every function called here is one of CUDA 12.0 or older.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::result::{DriverError, graph, stream};
use cudarc::driver::sys::{
    self, CUgraph, CUgraphExec, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode,
};
use cudarc::driver::{CudaContext, CudaStream};

use super::nvidia::fault;
use super::{Fault, GraphCounts};
use crate::cuda::gpu::locked;

/// Executable graphs that are kept: each has memory for its nodes on the GPU.
const MOST_GRAPHS: usize = 32;

/// A stream, and what is captured from it. The context must be bound to this thread, in all that it does.
pub(super) struct Stream {
    stream: Arc<CudaStream>,
    graphs: Mutex<Graphs>,
}

#[derive(Default)]
struct Graphs {
    is_capturing: bool,
    /// By the kinds of their nodes, in the order of the chain.
    executable: BTreeMap<Vec<u32>, Executable>,
    counts: GraphCounts,
}

impl Stream {
    pub(super) fn new(stream: Arc<CudaStream>) -> Self {
        Self { stream, graphs: Mutex::default() }
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// Hands work to the stream, which runs it, or captures it. The lock keeps it from coming between the end of a capture
    /// and the launch of what was captured.
    pub(super) fn hand_over<T>(&self, work: impl FnOnce(&Arc<CudaStream>) -> T) -> T {
        let _graphs = locked(&self.graphs);
        work(&self.stream)
    }

    /// Does what cannot be captured, such as waiting, after launching what was captured; nothing is captured from then on.
    pub(super) fn directly<T>(
        &self,
        work: impl FnOnce(&Arc<CudaStream>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let _graphs = self.launched()?;
        work(&self.stream)
    }

    pub(super) fn begin_capture(&self) -> Result<(), Fault> {
        let mut graphs = self.launched()?;
        // Meanwhile memory may be allocated and kernels loaded, by any thread.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is open, and nothing is captured from it.
        unsafe { stream::begin_capture(self.stream.cu_stream(), mode) }.map_err(fault)?;
        graphs.is_capturing = true;
        Ok(())
    }

    pub(super) fn end_capture(&self) -> Result<(), Fault> {
        self.launched().map(|_| ())
    }

    pub(super) fn graph_counts(&self) -> GraphCounts {
        locked(&self.graphs).counts
    }

    /// The lock, with nothing captured.
    fn launched(&self) -> Result<MutexGuard<'_, Graphs>, Fault> {
        let mut graphs = locked(&self.graphs);
        if std::mem::take(&mut graphs.is_capturing) {
            graphs.launch(&self.stream).map_err(fault)?;
        }
        Ok(graphs)
    }
}

impl Graphs {
    /// Launches what was captured.
    fn launch(&mut self, stream: &CudaStream) -> Result<(), DriverError> {
        // SAFETY: it is being captured.
        let captured = Captured(unsafe { stream::end_capture(stream.cu_stream()) }?);
        let kinds = captured.kinds()?;
        if kinds.is_empty() {
            return Ok(());
        }
        let executable = self.executable(kinds, &captured)?;
        // SAFETY: both are open.
        unsafe { graph::launch(executable, stream.cu_stream()) }?;
        self.counts.launched += 1;
        Ok(())
    }

    /// What was captured, ready to be launched. A graph that still runs is as it was when it was launched, also where it is
    /// updated or destroyed here.
    fn executable(&mut self, kinds: Vec<u32>, captured: &Captured) -> Result<CUgraphExec, DriverError> {
        if let Some(kept) = self.executable.get(&kinds) {
            if kept.update(captured) {
                return Ok(kept.0);
            }
            self.executable.remove(&kinds);
        }
        if self.executable.len() >= MOST_GRAPHS {
            self.executable.clear();
        }
        // SAFETY: it was captured and is whole.
        let executable = unsafe { graph::instantiate(captured.0, CUgraphInstantiate_flags(0)) }?;
        self.counts.instantiated += 1;
        self.executable.insert(kinds, Executable(executable));
        Ok(executable)
    }
}

/// A graph as captured.
struct Captured(CUgraph);

impl Captured {
    /// What its nodes are, as numbers: newer drivers know kinds that the bindings do not.
    fn kinds(&self) -> Result<Vec<u32>, DriverError> {
        let mut count = 0;
        // SAFETY: without a place for the nodes it says their number.
        unsafe { sys::cuGraphGetNodes(self.0, ptr::null_mut(), &raw mut count) }.result()?;
        let mut nodes = vec![ptr::null_mut(); count];
        // SAFETY: there is place for them.
        unsafe { sys::cuGraphGetNodes(self.0, nodes.as_mut_ptr(), &raw mut count) }.result()?;
        let kind = |node| {
            let mut kind = 0u32;
            // SAFETY: a kind is a number of this size.
            unsafe { sys::cuGraphNodeGetType(node, (&raw mut kind).cast()) }.result().map(|()| kind)
        };
        nodes.into_iter().map(kind).collect()
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // What cannot be destroyed is lost, and nobody can help it.
        // SAFETY: it is this one's own.
        let _ = unsafe { graph::destroy(self.0) };
    }
}

/// A graph that can be launched.
struct Executable(CUgraphExec);

// SAFETY: handles of the driver may be used from any thread, by one at a time: under the lock.
unsafe impl Send for Executable {}

impl Executable {
    /// Whether it now does what was captured; if not, it is of no use any more.
    fn update(&self, captured: &Captured) -> bool {
        // Which node it was that could not be updated is of no use here.
        let mut difference = MaybeUninit::uninit();
        // SAFETY: both graphs are whole, and there is place for the answer.
        let updated = unsafe { sys::cuGraphExecUpdate_v2(self.0, captured.0, difference.as_mut_ptr()) };
        updated == CUresult::CUDA_SUCCESS
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // As above. Where it still runs the driver waits with it.
        // SAFETY: it is this one's own.
        let _ = unsafe { graph::exec_destroy(self.0) };
    }
}
