//! The data folder as a whole: opening it at start, and closing it after a clean stop.
//!
//! Invariant: the `clean` marker exists only while nothing has been touched since everything was synced. It is removed,
//! durably, before the first change, and written, durably, after the last; so a crash at any moment is seen as one.
//!
//! ```text
//! format   key=value text: format number, cluster id, boot epoch       lock   held while the broker runs
//! clean    marker, only after a clean stop                             topics/<name>/topic.properties, <n>/...
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{Properties, State, Topic, check_name};
use super::producers::Producers;
use super::views::View;
use super::{Broker, OpenError};
use crate::api::TopicKey;
use crate::config::Config;
use crate::disk::{Disk, Kind, Open, read_file, remove_tree, replace_file};
use crate::segment::{Log, Recovery};
use crate::time::Now;
use crate::view;
use crate::worker::folder::{CREATING, DELETING, PROPERTIES, is_virgin};

/// Number of the on-disk format written here.
pub const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const CLEAN_FILE: &str = "clean";
const LOCK_FILE: &str = "lock";
/// Name of the file that keeps a partition's producers.
pub const PRODUCERS_FILE: &str = "producers";

/// Who this data folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Made once, kept for ever.
    pub cluster_id: String,
    /// Counts the starts; also the leader epoch of everything appended until the next one.
    pub boot_epoch: u32,
}

/// What opening found, for the first screen and the log.
#[derive(Debug, Default)]
pub struct Opened {
    /// Whether the folder was made just now.
    pub new: bool,
    /// Whether the last stop was clean.
    pub clean: bool,
    /// Topics found.
    pub topics: usize,
    /// Records between log start and log end.
    pub records: u64,
    /// What recovery did, with the partition it did it to; only where it did something.
    pub recovered: Vec<(String, Recovery)>,
    /// Names in the folder that are not ours; left alone.
    pub strangers: Vec<String>,
}

/// How a folder is opened.
#[derive(Clone, Copy)]
struct Start {
    /// Nothing has changed since everything was synced.
    clean: bool,
    /// The wall clock, milliseconds since 1970.
    wall: i64,
}

impl Broker {
    /// Opens a data folder, making it if it is not there. Blocks.
    pub fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        seed: u64,
        now: Now,
    ) -> Result<(Broker, Opened), OpenError> {
        let mut opened = Opened::default();
        let data = config.data_dir.clone();
        make_dirs(&*disk, &data)?;
        let lock = take_lock(&*disk, &data)?;
        let mut broker = Broker::empty(config, Arc::clone(&disk), lock, seed);
        broker.identity = next_identity(&*disk, &data, &mut broker, &mut opened)?;
        broker.leader_epoch = broker.identity.boot_epoch as i32;
        opened.clean = take_clean_marker(&*disk, &data)?;
        // The identity is written after the marker is gone, so that a crash in between is not taken for a clean stop.
        replace_file(&*disk, &data.join(FORMAT_FILE), broker.identity.text().as_bytes())
            .map_err(|e| OpenError::io(&data.join(FORMAT_FILE), e))?;
        let start = Start { clean: opened.clean || opened.new, wall: now.wall };
        broker.open_topics(&disk, start, &mut opened)?;
        broker.started(now);
        Ok((broker, opened))
    }

    fn open_topics(
        &mut self,
        disk: &Arc<dyn Disk>,
        start: Start,
        opened: &mut Opened,
    ) -> Result<(), OpenError> {
        let topics = self.topics_dir();
        let entries = disk.list(&topics).map_err(|e| OpenError::io(&topics, e))?;
        for entry in entries {
            let path = topics.join(&entry.name);
            if entry.name.starts_with(CREATING) || entry.name.starts_with(DELETING) {
                remove_tree(&**disk, &path).map_err(|e| OpenError::io(&path, e))?;
            } else if entry.kind != Kind::Dir || check_name(&entry.name).is_err() {
                opened.strangers.push(path.display().to_string());
            } else {
                self.open_topic(disk, &entry.name, &path, start, opened)?;
            }
        }
        Ok(())
    }

    fn open_topic(
        &mut self,
        disk: &Arc<dyn Disk>,
        name: &str,
        path: &Path,
        start: Start,
        opened: &mut Opened,
    ) -> Result<(), OpenError> {
        let file = path.join(PROPERTIES);
        let text = read_file(&**disk, &file).map_err(|e| OpenError::io(&file, e))?;
        let text = String::from_utf8(text).map_err(|_| OpenError::Bad(file.clone(), "not UTF-8".into()))?;
        let properties = Properties::parse(&text).map_err(|e| OpenError::Bad(file.clone(), e))?;
        let key = self.catalog.add(Topic {
            name: name.to_owned(),
            id: properties.id,
            settings: properties.own.over(&self.config.topic),
            own: properties.own,
            partitions: Vec::new(),
            state: State::Live,
            change: None,
        });
        opened.topics += 1;
        remove_uncounted(&**disk, path, properties.partitions, opened)?;
        self.open_partitions(disk, key, properties.partitions, path, start, opened)
    }

    fn open_partitions(
        &mut self,
        disk: &Arc<dyn Disk>,
        key: TopicKey,
        count: u32,
        path: &Path,
        start: Start,
        opened: &mut Opened,
    ) -> Result<(), OpenError> {
        let topic = self.catalog.get(key).expect("added a moment ago");
        let settings = super::partition::log_settings(&topic.settings);
        let compacted = topic.settings.cleanup.compacts();
        let (mut logs, mut producers) = (Vec::new(), Vec::new());
        for number in 0..count {
            let dir = path.join(number.to_string());
            let (mut state, covered) = read_producers(&**disk, &dir);
            // After a clean stop the producers file is the whole truth; otherwise the log says the rest.
            let walk_from = (!start.clean).then_some(covered);
            let mut next = covered;
            let mut visit = |batch: &krappy_wire::batch::Header| {
                if batch.base_offset >= covered {
                    // Batches between the file and the log start are gone unseen: what the file says is out of date.
                    if batch.base_offset > next {
                        state = Producers::default();
                    }
                    next = batch.next_offset();
                    state.observe(batch, start.wall);
                }
            };
            let (log, recovery) = Log::open(disk, &dir, start.clean, walk_from, &settings, &mut visit)
                .map_err(|e| match e {
                    crate::segment::OpenError::Io(e) => OpenError::io(&dir, e),
                    refused => OpenError::Bad(dir.clone(), refused.to_string()),
                })?;
            state.retract(log.end_offset());
            if covered > log.end_offset() {
                // The file speaks of records that were lost. Once others have taken their offsets it would be believed.
                let path = dir.join(PRODUCERS_FILE);
                replace_file(&**disk, &path, &state.encode(log.end_offset()))
                    .map_err(|e| OpenError::io(&path, e))?;
            }
            opened.records += (log.end_offset() - log.start_offset()).max(0) as u64;
            if !recovery.is_uneventful() {
                opened.recovered.push((dir.display().to_string(), recovery));
            }
            let view = match compacted {
                true => Some(
                    self.open_view(disk, &dir, &log).map_err(|e| OpenError::io(&dir.join(view::DIR), e))?,
                ),
                false => {
                    // What is left of a view after the topic has ceased to be compacted.
                    let view = dir.join(view::DIR);
                    remove_tree(&**disk, &view).map_err(|e| OpenError::io(&view, e))?;
                    None
                }
            };
            logs.push((log, view));
            producers.push(state);
        }
        self.add_partitions(key, logs);
        let topic = self.catalog.get(key).expect("added a moment ago");
        for (&key, state) in topic.partitions.iter().zip(producers) {
            self.partitions[key.0 as usize].as_mut().expect("added a moment ago").producers = state;
        }
        Ok(())
    }

    fn open_view(&self, disk: &Arc<dyn Disk>, dir: &Path, log: &Log) -> io::Result<View> {
        let options = self.view_options();
        let (tree, why) = view::open(disk, dir, log.end_offset(), log.durable_offset(), &options, false)?;
        if let Some(why) = why {
            log::warn!("{}: the view is made again from the log: {why}", dir.display());
        }
        View::start(tree, log, &options, self.config.limits.view_replay)
    }

    /// The last step of a clean stop: every index, mark and producers file, then the marker. Blocks. Nothing may be
    /// appended afterwards. Without the marker if anything fails or a partition is fenced.
    pub fn close(&mut self) -> io::Result<()> {
        let mut fenced = 0;
        for partition in self.partitions.iter_mut().flatten() {
            if partition.log.fenced() {
                fenced += 1;
                continue;
            }
            partition.log.close()?;
            if let Some(view) = &mut partition.view {
                view.close(partition.log.end_offset())?;
            }
            let producers = partition.producers.encode(partition.log.end_offset());
            let path = partition.dir.join(PRODUCERS_FILE);
            if !partition.producers.is_empty() || read_file(&*self.disk, &path).is_ok() {
                replace_file(&*self.disk, &path, &producers)?;
            }
        }
        if fenced > 0 {
            return Err(io::Error::other(format!(
                "{fenced} partitions are fenced, so this stop is not a clean one"
            )));
        }
        replace_file(&*self.disk, &self.config.data_dir.join(CLEAN_FILE), b"clean\n")
    }

    /// The cluster id and boot epoch.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Removes the folders of partitions that were made and not counted, because the process died in between. Nobody was
/// told of them, so they hold no record; one that does is left alone and named.
fn remove_uncounted(disk: &dyn Disk, topic: &Path, count: u32, opened: &mut Opened) -> Result<(), OpenError> {
    for entry in disk.list(topic).map_err(|e| OpenError::io(topic, e))? {
        let number = entry.name.parse::<u32>().ok().filter(|number| number.to_string() == entry.name);
        let path = topic.join(&entry.name);
        if number.is_none_or(|number| number < count) || entry.kind != Kind::Dir {
            continue;
        }
        if is_virgin(disk, &path).map_err(|e| OpenError::io(&path, e))? {
            remove_tree(disk, &path).map_err(|e| OpenError::io(&path, e))?;
        } else {
            opened.strangers.push(path.display().to_string());
        }
    }
    Ok(())
}

fn make_dirs(disk: &dyn Disk, data: &Path) -> Result<(), OpenError> {
    let topics = data.join("topics");
    for dir in [data, &topics] {
        disk.create_dir(dir).map_err(|e| OpenError::io(dir, e))?;
    }
    let parent = data.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A process that died while it made a topic may have left a name that is there and not durable, and what is
    // published to it from now on must not go with it.
    for dir in [parent, data, &topics] {
        disk.sync_dir(dir).map_err(|e| OpenError::io(dir, e))?;
    }
    Ok(())
}

fn take_lock(disk: &dyn Disk, data: &Path) -> Result<Box<dyn Send>, OpenError> {
    let path = data.join(LOCK_FILE);
    match disk.lock(&path) {
        Ok(lock) => Ok(lock),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let holder = read_file(disk, &path).unwrap_or_default();
            Err(OpenError::InUse(data.to_path_buf(), String::from_utf8_lossy(&holder).trim().to_owned()))
        }
        Err(e) => Err(OpenError::io(&path, e)),
    }
}

fn next_identity(
    disk: &dyn Disk,
    data: &Path,
    broker: &mut Broker,
    opened: &mut Opened,
) -> Result<Identity, OpenError> {
    let path = data.join(FORMAT_FILE);
    match read_file(disk, &path) {
        Ok(bytes) => {
            let before =
                Identity::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| OpenError::Bad(path, e))?;
            Ok(Identity { boot_epoch: before.boot_epoch + 1, ..before })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A folder with topics and no identity was damaged; making up a new one would hide that.
            if !disk.list(&data.join("topics")).map_err(|e| OpenError::io(data, e))?.is_empty() {
                return Err(OpenError::Bad(path, "missing, although there are topics".into()));
            }
            opened.new = true;
            let id = broker.new_id();
            Ok(Identity { cluster_id: id.iter().map(|b| format!("{b:02x}")).collect(), boot_epoch: 1 })
        }
        Err(e) => Err(OpenError::io(&path, e)),
    }
}

impl Identity {
    fn text(&self) -> String {
        format!(
            "# a krappy data folder\nformat={FORMAT}\ncluster.id={}\nboot.epoch={}\n",
            self.cluster_id, self.boot_epoch
        )
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(str::trim).ok_or_else(|| format!("no line {key}=..."))
        };
        let format: u32 = value("format")?.parse().map_err(|_| "format is not a number")?;
        if format != FORMAT {
            return Err(format!("the data has format {format}, this krappy reads format {FORMAT}"));
        }
        let boot_epoch = value("boot.epoch")?.parse().map_err(|_| "boot.epoch is not a number")?;
        Ok(Self { cluster_id: value("cluster.id")?.to_owned(), boot_epoch })
    }
}

/// Whether the last stop was clean; the marker is gone, durably, when this returns.
fn take_clean_marker(disk: &dyn Disk, data: &Path) -> Result<bool, OpenError> {
    let path = data.join(CLEAN_FILE);
    match disk.open(&path, Open::Read) {
        Ok(_) => {
            disk.remove_file(&path).map_err(|e| OpenError::io(&path, e))?;
            disk.sync_dir(data).map_err(|e| OpenError::io(data, e))?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(OpenError::io(&path, e)),
    }
}

/// The producers file and the offset it covers; nothing and 0 when it is missing or damaged.
fn read_producers(disk: &dyn Disk, dir: &Path) -> (Producers, i64) {
    let path: PathBuf = dir.join(PRODUCERS_FILE);
    match read_file(disk, &path) {
        Ok(bytes) => Producers::decode(&bytes).unwrap_or_else(|| {
            log::warn!("{}: damaged, rebuilt from the active segment", path.display());
            (Producers::default(), 0)
        }),
        Err(_) => (Producers::default(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_and_a_newer_format_is_refused() {
        let identity = Identity { cluster_id: "abc".into(), boot_epoch: 7 };
        assert_eq!(Identity::parse(&identity.text()), Ok(identity));
        let newer = "format=2\ncluster.id=a\nboot.epoch=1\n";
        assert_eq!(Identity::parse(newer).unwrap_err(), "the data has format 2, this krappy reads format 1");
        assert_eq!(Identity::parse("format=1\n").unwrap_err(), "no line boot.epoch=...");
    }
}
