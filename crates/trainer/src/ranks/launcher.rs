//! Whether a launcher started several ranks, by the variables that it leaves in the environment.

use std::env;
use std::sync::Arc;

use super::{Alone, Communicator};
use crate::Result;

/// The number of ranks, as launchers say it: Open MPI's `mpirun`; MPICH's, Intel MPI's and Slurm's; `torchrun`.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"];

/// The rank alone, where a launcher leaves the number of ranks to the library (PMIx).
const RANK: &str = "PMIX_RANK";

/// What a launcher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Launch {
    variable: &'static str,
    /// There are so many ranks, or more where only a rank was said.
    ranks: usize,
}

/// The ranks of this run, or this process alone where no launcher started several. Asked once a process.
///
/// # Errors
/// Several ranks were started that cannot speak to each other: without the feature `mpi`, or by a launcher that is not that
/// of the MPI library. Each would train, and write, as if it were alone.
pub fn connect() -> Result<Arc<dyn Communicator>> {
    match launch(|variable| env::var(variable).ok()) {
        None => Ok(Arc::new(Alone)),
        Some(Launch { variable, ranks: 0 | 1 }) if variable != RANK => Ok(Arc::new(Alone)),
        Some(launch) => connect_launched(launch),
    }
}

#[cfg(feature = "mpi")]
fn connect_launched(Launch { variable, ranks }: Launch) -> Result<Arc<dyn Communicator>> {
    let mpi = super::mpi::Mpi::new()?;
    let found = mpi.size();
    if found < ranks || found > ranks && variable != RANK {
        return Err(crate::Error::OtherRanks { variable, expected: ranks, found });
    }
    Ok(Arc::new(mpi))
}

#[cfg(not(feature = "mpi"))]
fn connect_launched(Launch { variable, ranks }: Launch) -> Result<Arc<dyn Communicator>> {
    match ranks {
        0 | 1 => Ok(Arc::new(Alone)),
        _ => Err(crate::Error::WithoutMpi { variable, ranks }),
    }
}

/// The first variable that says something; `None` where all are silent.
fn launch(value: impl Fn(&str) -> Option<String>) -> Option<Launch> {
    let number = |variable| value(variable)?.parse::<usize>().ok();
    let size = |variable| Some(Launch { variable, ranks: number(variable)? });
    SIZES.into_iter().find_map(size).or_else(|| Some(Launch { variable: RANK, ranks: number(RANK)? + 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(variables: &[(&str, &str)]) -> Option<(&'static str, usize)> {
        let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        launch(value).map(|launch| (launch.variable, launch.ranks))
    }

    #[test]
    fn launchers_are_known_by_what_they_leave() {
        assert_eq!(launched(&[]), None);
        assert_eq!(launched(&[("WORLD_SIZE", "many")]), None);
        assert_eq!(launched(&[("WORLD_SIZE", "4"), ("RANK", "1")]), Some(("WORLD_SIZE", 4)));
        assert_eq!(launched(&[("PMIX_RANK", "0"), ("PMI_SIZE", "2")]), Some(("PMI_SIZE", 2)));
        let open_mpi = [("OMPI_COMM_WORLD_SIZE", "3"), ("PMIX_RANK", "2")];
        assert_eq!(launched(&open_mpi), Some(("OMPI_COMM_WORLD_SIZE", 3)));
        assert_eq!(launched(&[("PMIX_RANK", "1")]), Some(("PMIX_RANK", 2)));
    }
}
