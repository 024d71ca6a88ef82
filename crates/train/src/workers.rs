//! Threads that compute independent jobs.
//!
//! burn's kernels use rayon inside each operator, which gains little on small layers. Here every job
//! runs in a rayon pool of one thread, so its kernels are sequential, and whole jobs run side by side.
//! That is faster, and the order of every sum is fixed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use espalier_ir::Diagnostic;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Execution;

/// More threads than this are a typing error.
const MAX_THREADS: usize = 256;

pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    pub(crate) fn new(execution: Execution) -> Result<Self, Diagnostic> {
        let threads = match execution.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            n if n <= MAX_THREADS => n,
            n => {
                return Err(Diagnostic::error(
                    "bad-training-option",
                    "threads",
                    format!("{n} is more than the supported {MAX_THREADS}"),
                ));
            }
        };
        let pools = (0..threads)
            .map(|_| ThreadPoolBuilder::new().num_threads(1).build())
            .collect::<Result<_, _>>()
            .map_err(|e| Diagnostic::error("no-threads", "threads", format!("cannot start {threads} threads: {e}")))?;
        Ok(Workers { pools })
    }

    /// Runs `f` with sequential kernels.
    pub(crate) fn alone<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pools[0].install(f)
    }

    /// The results of `f` in the order of the jobs, whichever thread computed them.
    pub(crate) fn map<J: Sync, R: Send>(&self, jobs: &[J], f: impl Fn(&J) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(index) else { break };
                let result = f(job);
                *results[index].lock().expect("no other thread touches this result") = Some(result);
            }
        };
        std::thread::scope(|scope| {
            for pool in self.pools.iter().take(jobs.len()).skip(1) {
                scope.spawn(|| pool.install(work));
            }
            self.alone(work);
        });
        results.into_iter().map(|r| r.into_inner().ok().flatten().expect("every job was computed")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        let jobs: Vec<usize> = (0..100).collect();
        for threads in [1, 3] {
            let workers = Workers::new(Execution { threads, ..Default::default() }).unwrap();
            assert_eq!(workers.map(&jobs, |j| j * j), jobs.iter().map(|j| j * j).collect::<Vec<_>>());
            assert!(workers.map(&Vec::<usize>::new(), |j| *j).is_empty());
        }
    }

    #[test]
    fn kernels_see_one_thread() {
        let workers = Workers::new(Execution { threads: 2, ..Default::default() }).unwrap();
        assert_eq!(workers.map(&[(); 8], |()| rayon::current_num_threads()), [1; 8]);
    }

    #[test]
    fn absurd_thread_counts_are_refused() {
        assert!(Workers::new(Execution { threads: 100_000, ..Default::default() }).is_err());
    }
}
