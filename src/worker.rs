//! The boundary with the worker threads: what they are told ([`Job`]), what they answer ([`Done`]), and the threads.
//!
//! Invariant: a job names its files and owns its bytes, so it means the same whenever and wherever it runs; the
//! simulator runs jobs itself, in an order of its choosing. Nothing that may wait for the device happens anywhere else,
//! except the append into the page cache.

pub mod folder;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::api::{PartitionKey, ReplyTo, TopicKey};
use crate::disk::{Disk, Space, remove_tree, swap_file};
use crate::lsm::{self, Flush, Flushed, Merge, Options, Step, Sweep, Tree};
use crate::segment::{Clean, CleanStep, Log, Lookup, MarkWrite, Swap, Swapped, Sync, Synced, Unlink, Warm};
use crate::view::{self, Rebuild, Rebuilt, Survivors};
pub use folder::{AddPartitions, CreateTopic};

/// Work that may wait for the device.
pub enum Job {
    /// Make a partition's appends durable.
    Sync(PartitionKey, Sync),
    /// Read a cold range, so that the retry of this parked fetch finds it in memory.
    Warm(u64, Warm),
    /// Find the offset of a timestamp, for this parked question and its n-th partition.
    Lookup(u64, usize, Lookup),
    /// Make the folder of a topic.
    CreateTopic(CreateTopic),
    /// Describe a topic anew: its folder, and the content of `topic.properties`.
    Describe(TopicKey, PathBuf, String),
    /// Make the folders of further partitions.
    AddPartitions(AddPartitions),
    /// Remove the folder of a topic.
    DeleteTopic {
        /// Which one.
        topic: TopicKey,
        /// `data/topics`.
        topics: PathBuf,
        /// Its name.
        name: String,
    },
    /// Remove segment files that retention has dropped from a partition.
    Unlink(PartitionKey, Unlink),
    /// Make a new log start offset durable, then answer.
    Mark(PartitionKey, MarkWrite, Option<(ReplyTo, i64)>),
    /// Write a small file so that it is whole or absent: the producers of a partition.
    Snapshot(PartitionKey, PathBuf, Vec<u8>),
    /// Look how much room there is.
    Space(PathBuf),
    /// Write a memtable of a view to a run file.
    Flush(PartitionKey, Box<Flush>),
    /// Do one step of a merge of a view's run files.
    Merge(PartitionKey, Box<Merge>),
    /// Read a cold block of a view, so that the retry of this parked request, if there is one, finds it in memory.
    WarmView(Option<u64>, lsm::Warm),
    /// Read a part of the log for a view that is made again.
    Rebuild(PartitionKey, Box<Rebuild>),
    /// Throw away what a tree has let go of: the last close of a removed file is what frees its blocks.
    Sweep(Sweep),
    /// Remove the view of a partition that is not compacted any more, and close the tree that was left of it.
    RemoveView(PartitionKey, PathBuf, Option<Box<Tree>>),
    /// Do a step of cleaning a compacted partition.
    Clean(PartitionKey, Box<CleanJob>),
    /// Put a cleaned segment in the place of those that it was made from.
    Swap(PartitionKey, Swap),
    /// Open a view that was broken.
    OpenView {
        /// Of which partition.
        partition: PartitionKey,
        /// Its folder.
        dir: PathBuf,
        /// The end of its log.
        end: i64,
        /// The durable end of its log.
        durable: i64,
        /// How the tree is shaped.
        options: Options,
        /// Whether it is made anew whatever its files say.
        damaged: bool,
    },
}

/// A clean with what it asks.
pub struct CleanJob {
    /// What is left to be done.
    pub clean: Clean,
    /// Which record of a key is the newest.
    pub newest: Survivors,
}

/// What became of a job.
pub enum Done {
    /// See [`Job::Sync`].
    Synced(PartitionKey, Synced),
    /// See [`Job::Warm`].
    Warmed(u64, io::Result<()>),
    /// See [`Job::Lookup`]; offset and timestamp.
    Found(u64, usize, io::Result<Option<(i64, i64)>>),
    /// See [`Job::CreateTopic`]; the open logs and the trees of their views in order of partition number.
    TopicCreated(TopicKey, io::Result<Vec<(Log, Option<Tree>)>>),
    /// See [`Job::Describe`].
    Described(TopicKey, io::Result<()>),
    /// See [`Job::AddPartitions`]; the same of the new partitions.
    PartitionsAdded(TopicKey, io::Result<Vec<(Log, Option<Tree>)>>),
    /// See [`Job::DeleteTopic`].
    TopicDeleted(TopicKey, io::Result<()>),
    /// See [`Job::Unlink`].
    Unlinked(PartitionKey, io::Result<()>),
    /// See [`Job::Mark`].
    Marked(PartitionKey, io::Result<()>, Option<(ReplyTo, i64)>),
    /// See [`Job::Snapshot`].
    Snapshotted(PartitionKey, io::Result<()>),
    /// See [`Job::Space`].
    Space(io::Result<Space>),
    /// See [`Job::Flush`].
    Flushed(PartitionKey, Box<Flushed>),
    /// See [`Job::Merge`].
    MergeStep(PartitionKey, Box<Step>),
    /// See [`Job::WarmView`].
    ViewWarmed(Option<u64>, io::Result<()>),
    /// See [`Job::Rebuild`].
    Rebuilt(PartitionKey, Box<io::Result<Rebuilt>>),
    /// See [`Job::Sweep`].
    Swept,
    /// See [`Job::RemoveView`].
    ViewRemoved(PartitionKey, io::Result<()>),
    /// See [`Job::Clean`].
    Cleaned(PartitionKey, Box<(CleanStep, Survivors)>),
    /// See [`Job::Swap`].
    Swapped(PartitionKey, Swapped),
    /// See [`Job::OpenView`]; also why it had to be made anew, if so.
    ViewOpened(PartitionKey, Box<io::Result<(Tree, Option<String>)>>),
}

impl Job {
    /// Does the work. May wait.
    pub fn run(self, disk: &Arc<dyn Disk>) -> Done {
        match self {
            Job::Sync(partition, sync) => Done::Synced(partition, sync.run(&**disk)),
            Job::Warm(park, warm) => Done::Warmed(park, warm.run()),
            Job::Lookup(park, index, lookup) => Done::Found(park, index, lookup.run()),
            Job::CreateTopic(create) => Done::TopicCreated(create.topic, create.run(disk)),
            Job::Describe(topic, dir, properties) => {
                Done::Described(topic, folder::describe(&**disk, &dir, &properties))
            }
            Job::AddPartitions(add) => Done::PartitionsAdded(add.topic, add.run(disk)),
            Job::DeleteTopic { topic, topics, name } => {
                Done::TopicDeleted(topic, folder::delete(&**disk, &topics, &name))
            }
            Job::Unlink(partition, unlink) => Done::Unlinked(partition, unlink.run(&**disk)),
            Job::Mark(partition, mark, to) => Done::Marked(partition, mark.run(), to),
            Job::Snapshot(partition, path, bytes) => {
                Done::Snapshotted(partition, swap_file(&**disk, &path, &bytes))
            }
            Job::Space(path) => Done::Space(disk.space(&path)),
            Job::Flush(partition, flush) => Done::Flushed(partition, Box::new(flush.run(&**disk))),
            Job::Merge(partition, merge) => Done::MergeStep(partition, Box::new(merge.step(&**disk))),
            Job::WarmView(park, warm) => Done::ViewWarmed(park, warm.run()),
            Job::Rebuild(partition, rebuild) => Done::Rebuilt(partition, Box::new(rebuild.step())),
            Job::Sweep(sweep) => {
                sweep.run();
                Done::Swept
            }
            Job::RemoveView(partition, dir, tree) => {
                drop(tree);
                Done::ViewRemoved(partition, remove_tree(&**disk, &dir))
            }
            Job::Clean(partition, job) => {
                let CleanJob { clean, mut newest } = *job;
                let step = clean.step(&**disk, &mut newest, CLEAN_STEP);
                Done::Cleaned(partition, Box::new((step, newest)))
            }
            Job::Swap(partition, swap) => Done::Swapped(partition, swap.run(&**disk)),
            Job::OpenView { partition, dir, end, durable, options, damaged } => {
                Done::ViewOpened(partition, Box::new(view::open(disk, &dir, end, durable, &options, damaged)))
            }
        }
    }
}

/// What one step of cleaning goes through at the most, bytes.
pub const CLEAN_STEP: usize = 1 << 20;
/// The worker threads. Dropping it waits for the jobs that were given.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    done: Vec<Done>,
    stopping: bool,
}

impl Workers {
    /// Starts `count` threads; each calls `wake` when it has put an answer where [`Workers::take_done`] finds it.
    pub fn start(
        disk: Arc<dyn Disk>,
        count: usize,
        wake: impl Fn() + Send + std::marker::Sync + 'static,
    ) -> io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), done: Vec::new(), stopping: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), work: Condvar::new() });
        let wake = Arc::new(wake);
        let threads = (0..count)
            .map(|n| {
                let (shared, disk, wake) = (Arc::clone(&shared), Arc::clone(&disk), Arc::clone(&wake));
                std::thread::Builder::new()
                    .name(format!("krappy-worker-{n}"))
                    .stack_size(256 << 10)
                    .spawn(move || shared.work(&disk, &*wake))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// Hands jobs over.
    pub fn give(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut queue = self.shared.queue.lock().expect("a worker never panics while it holds the queue");
        let before = queue.jobs.len();
        queue.jobs.extend(jobs);
        let added = queue.jobs.len() - before;
        drop(queue);
        for _ in 0..added {
            self.shared.work.notify_one();
        }
    }

    /// Everything that was done since the last call.
    pub fn take_done(&self, into: &mut Vec<Done>) {
        let mut queue = self.shared.queue.lock().expect("a worker never panics while it holds the queue");
        into.append(&mut queue.done);
    }
}

impl Shared {
    fn work(&self, disk: &Arc<dyn Disk>, wake: &(impl Fn() + ?Sized)) {
        let mut queue = self.queue.lock().expect("a worker never panics while it holds the queue");
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                let done = job.run(disk);
                queue = self.queue.lock().expect("a worker never panics while it holds the queue");
                queue.done.push(done);
                // One wake-up announces everything that gathers until it is taken.
                if queue.done.len() == 1 {
                    drop(queue);
                    wake();
                    queue = self.queue.lock().expect("a worker never panics while it holds the queue");
                }
            } else if queue.stopping {
                return;
            } else {
                queue = self.work.wait(queue).expect("a worker never panics while it holds the queue");
            }
        }
    }
}

impl Workers {
    /// Lets the threads finish what they were given and ends them.
    pub fn finish(&mut self) {
        self.shared.queue.lock().expect("a worker never panics while it holds the queue").stopping = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has already ended the process; there is nothing to learn from the join.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.finish();
    }
}
