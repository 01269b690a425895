//! How a launcher started this process, by the variables that it leaves in the environment.

use std::env;
use std::sync::Arc;

use super::{Alone, Communicator, Tcp};
use crate::{Error, Result};

/// The number of ranks, as MPI's launchers say it: Open MPI's `mpirun`; MPICH's, Intel MPI's and Slurm's.
const MPI_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The rank alone, where a launcher leaves the number of ranks to the library (PMIx).
const MPI_RANK: &str = "PMIX_RANK";

/// The number of ranks, as `torchrun` says it, and who speaks its language.
const SIZE: &str = "WORLD_SIZE";

/// Which of the ranks of one machine this is: `torchrun`'s, Open MPI's.
const LOCAL_RANKS: [&str; 2] = ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"];

/// Where `torchrun` has its own server on the port that it names.
const PORT_IS_TAKEN: &str = "TORCHELASTIC_USE_AGENT_STORE";

/// What a launcher says.
#[derive(Debug, PartialEq, Eq)]
enum Launch {
    Alone,
    /// There are so many ranks, or more where the variable says a rank alone.
    Mpi {
        variable: &'static str,
        ranks: usize,
    },
    Tcp {
        rank: usize,
        size: usize,
        address: String,
    },
}

/// The ranks of this run: over MPI where its launcher started several and the feature `mpi` is built in, else over TCP where
/// the variables of `torchrun` are set (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`); this process alone where no
/// launcher started several. Asked once a process.
///
/// # Errors
/// Several ranks were started that cannot speak to each other: over MPI without the feature, by a launcher that is not that
/// of the MPI library, or with a variable missing. Each would train, and write, as if it were alone. Or one does not come.
pub fn connect() -> Result<Arc<dyn Communicator>> {
    Ok(match launch(variable)? {
        Launch::Alone => Arc::new(Alone),
        Launch::Mpi { variable, ranks } => connect_mpi(variable, ranks)?,
        Launch::Tcp { rank, size, address } => Arc::new(Tcp::connect(rank, size, &address)?),
    })
}

/// Which of the ranks that a launcher started on this machine this is, from 0; 0 where it is alone.
pub(crate) fn local_rank() -> usize {
    local_rank_by(variable)
}

fn local_rank_by(value: impl Fn(&str) -> Option<String>) -> usize {
    let is_alone = matches!(launch(&value), Ok(Launch::Alone));
    let rank = |name| number(&value, name);
    LOCAL_RANKS.into_iter().find_map(rank).filter(|_| !is_alone).unwrap_or(0)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn number(value: &impl Fn(&str) -> Option<String>, name: &str) -> Option<usize> {
    value(name)?.parse().ok()
}

#[cfg(feature = "mpi")]
fn connect_mpi(variable: &'static str, ranks: usize) -> Result<Arc<dyn Communicator>> {
    let mpi = super::mpi::Mpi::new()?;
    let found = mpi.size();
    if found < ranks || found > ranks && variable != MPI_RANK {
        return Err(Error::OtherRanks { variable, expected: ranks, found });
    }
    Ok(Arc::new(mpi))
}

#[cfg(not(feature = "mpi"))]
fn connect_mpi(variable: &'static str, ranks: usize) -> Result<Arc<dyn Communicator>> {
    match ranks {
        0 | 1 => Ok(Arc::new(Alone)),
        _ => Err(Error::WithoutMpi { variable, ranks }),
    }
}

fn launch(value: impl Fn(&str) -> Option<String>) -> Result<Launch> {
    let size = |variable| Some((variable, number(&value, variable)?));
    let mpi = MPI_SIZES.into_iter().find_map(size);
    let several =
        mpi.filter(|(_, ranks)| *ranks > 1).map(|(variable, ranks)| Launch::Mpi { variable, ranks });
    let torchrun = number(&value, SIZE);
    Ok(match (several, torchrun, mpi) {
        (Some(launch), Some(2..), _) if cfg!(feature = "mpi") => launch,
        (_, Some(size @ 2..), _) => over_tcp(size, value)?,
        (Some(launch), ..) => launch,
        (None, None, None) => match number(&value, MPI_RANK) {
            Some(rank) => Launch::Mpi { variable: MPI_RANK, ranks: rank + 1 },
            None => Launch::Alone,
        },
        (None, ..) => Launch::Alone,
    })
}

fn over_tcp(size: usize, value: impl Fn(&str) -> Option<String>) -> Result<Launch> {
    let missing = |variable| move || Error::LauncherVariable { ranks: size, variable };
    let rank = number(&value, "RANK").ok_or_else(missing("RANK"))?;
    let host = value("MASTER_ADDR").ok_or_else(missing("MASTER_ADDR"))?;
    let port: u16 =
        value("MASTER_PORT").and_then(|port| port.parse().ok()).ok_or_else(missing("MASTER_PORT"))?;
    let is_taken = value(PORT_IS_TAKEN).is_some_and(|value| value == "True");
    let port = if is_taken { port.checked_add(1).ok_or_else(missing("MASTER_PORT"))? } else { port };
    // An IPv6 address has colons of its own.
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok(Launch::Tcp { rank, size, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string())
    }

    fn launched(variables: &[(&str, &str)]) -> Result<Launch> {
        launch(values(variables))
    }

    #[track_caller]
    fn assert_mpi(variables: &[(&str, &str)], variable: &'static str, ranks: usize) {
        assert_eq!(launched(variables).unwrap(), Launch::Mpi { variable, ranks });
    }

    const TORCHRUN: [(&str, &str); 4] =
        [("RANK", "1"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")];

    fn tcp(address: &str) -> Launch {
        Launch::Tcp { rank: 1, size: 4, address: address.into() }
    }

    #[test]
    fn launchers_are_known_by_what_they_leave() {
        assert_eq!(launched(&[]).unwrap(), Launch::Alone);
        assert_eq!(launched(&[("WORLD_SIZE", "many")]).unwrap(), Launch::Alone);
        assert_eq!(launched(&[("WORLD_SIZE", "1"), ("RANK", "0")]).unwrap(), Launch::Alone);
        assert_eq!(launched(&[("PMI_SIZE", "1"), ("PMIX_RANK", "0")]).unwrap(), Launch::Alone);
        assert_mpi(&[("PMIX_RANK", "0"), ("PMI_SIZE", "2")], "PMI_SIZE", 2);
        assert_mpi(&[("OMPI_COMM_WORLD_SIZE", "3"), ("PMIX_RANK", "2")], "OMPI_COMM_WORLD_SIZE", 3);
        assert_mpi(&[("PMIX_RANK", "1")], "PMIX_RANK", 2);
        assert_eq!(launched(&TORCHRUN).unwrap(), tcp("localhost:29500"));
    }

    /// A launcher within a launcher: the inner one may be `torchrun` on a node that `srun` gave.
    #[test]
    fn several_ranks_come_before_one() {
        let within = |outer: &[(&str, &str)]| launched(&[outer, &TORCHRUN[..]].concat()).unwrap();
        assert_eq!(within(&[("PMI_SIZE", "1"), ("PMIX_RANK", "0")]), tcp("localhost:29500"));
        let both = within(&[("OMPI_COMM_WORLD_SIZE", "4")]);
        let mpi = Launch::Mpi { variable: "OMPI_COMM_WORLD_SIZE", ranks: 4 };
        assert_eq!(both, if cfg!(feature = "mpi") { mpi } else { tcp("localhost:29500") });
    }

    #[test]
    fn ranks_meet_beside_the_server_of_torchrun() {
        let found = launched(&[&TORCHRUN[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat());
        assert_eq!(found.unwrap(), tcp("localhost:29501"));
        let [rank, size, _, port] = TORCHRUN;
        let found = launched(&[rank, size, ("MASTER_ADDR", "fe80::1"), port]);
        assert_eq!(found.unwrap(), tcp("[fe80::1]:29500"));
    }

    #[test]
    fn a_rank_of_several_has_a_number_on_its_machine() {
        let rank = |variables: &[(&str, &str)]| local_rank_by(values(variables));
        assert_eq!(rank(&[&TORCHRUN[..], &[("LOCAL_RANK", "3")]].concat()), 3);
        assert_eq!(rank(&[("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")]), 1);
        assert_eq!(rank(&TORCHRUN), 0);
        // What another program left says nothing of a process alone.
        assert_eq!(rank(&[("LOCAL_RANK", "3"), ("WORLD_SIZE", "1")]), 0);
    }

    #[test]
    fn a_variable_that_is_missing_is_named() {
        for missing in ["RANK", "MASTER_ADDR", "MASTER_PORT"] {
            let rest: Vec<_> = TORCHRUN.into_iter().filter(|(name, _)| *name != missing).collect();
            let error = launched(&rest).unwrap_err().to_string();
            assert!(error.contains(&format!("`{missing}`")) && error.contains("4 ranks"), "{error}");
        }
    }
}
