//! The folder of a topic: made, given further partitions, described anew, removed.
//!
//! Invariant: a crash at any moment leaves what was before or what was to be. `topic.properties` says how many
//! partitions there are: their folders are durable before it counts them, so a folder that it does not count never held
//! a record.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::TopicKey;
use crate::disk::{Disk, Kind, remove_tree, replace_file};
use crate::lsm::{Options, Tree};
use crate::segment::{Log, LogSettings, Name, classify, mark};
use crate::view;

/// Prefix of a topic folder that is being made. `+` is not allowed in topic names, so it cannot be one. The longest
/// topic name leaves room for 6 bytes in a file name of 255.
pub const CREATING: &str = "+new-";
/// Prefix of a topic folder that is being removed.
pub const DELETING: &str = "+gone-";
/// Name of the text file that describes a topic.
pub const PROPERTIES: &str = "topic.properties";

/// The folder of a topic that is to be made.
pub struct CreateTopic {
    /// Which one.
    pub topic: TopicKey,
    /// `data/topics`.
    pub topics: PathBuf,
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Content of `topic.properties`.
    pub properties: String,
    /// How its partitions are opened.
    pub opening: Opening,
}

/// Further partitions of a topic.
pub struct AddPartitions {
    /// Which one.
    pub topic: TopicKey,
    /// Its folder.
    pub dir: PathBuf,
    /// How many it has.
    pub from: u32,
    /// How many it shall have.
    pub count: u32,
    /// Content of `topic.properties` now.
    pub before: String,
    /// Content of `topic.properties` then.
    pub properties: String,
    /// How its partitions are opened.
    pub opening: Opening,
}

/// How new partitions are opened.
pub struct Opening {
    /// How their logs behave.
    pub settings: LogSettings,
    /// How their views are shaped, if the topic is compacted.
    pub view: Option<Options>,
}

impl CreateTopic {
    /// Makes everything under another name, syncs it, and renames: a crash leaves the whole topic or none of it.
    pub fn run(self, disk: &Arc<dyn Disk>) -> io::Result<Vec<(Log, Option<Tree>)>> {
        let aside = self.topics.join(format!("{CREATING}{}", self.name));
        let place = self.topics.join(&self.name);
        remove_tree(&**disk, &aside)?;
        disk.create_dir(&aside)?;
        for number in 0..self.partitions {
            Log::create(&**disk, &aside.join(number.to_string()))?;
        }
        replace_file(&**disk, &aside.join(PROPERTIES), self.properties.as_bytes())?;
        disk.sync_dir(&aside)?;
        disk.rename(&aside, &place)?;
        disk.sync_dir(&self.topics)?;
        (0..self.partitions).map(|number| self.opening.open(disk, &place, number)).collect()
    }
}

impl AddPartitions {
    /// Makes the folders, then counts them.
    pub fn run(self, disk: &Arc<dyn Disk>) -> io::Result<Vec<(Log, Option<Tree>)>> {
        self.clear(&**disk)?;
        for number in self.from..self.count {
            Log::create(&**disk, &self.dir.join(number.to_string()))?;
        }
        describe(&**disk, &self.dir, &self.properties)?;
        (self.from..self.count).map(|number| self.opening.open(disk, &self.dir, number)).collect()
    }

    /// Removes what an earlier attempt has left, which holds no record: after a sync that failed, its names may never
    /// become durable, whatever later syncs say. That attempt may have counted it already, so it is uncounted first.
    fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut left = Vec::new();
        for number in self.from..self.count {
            let dir = self.dir.join(number.to_string());
            if !is_virgin(disk, &dir)? {
                let text = format!("{} holds records that the topic does not count", dir.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            if disk.list(&dir).is_ok() {
                left.push(dir);
            }
        }
        if !left.is_empty() {
            describe(disk, &self.dir, &self.before)?;
        }
        left.iter().try_for_each(|dir| remove_tree(disk, dir))
    }
}

impl Opening {
    fn open(&self, disk: &Arc<dyn Disk>, topic: &Path, number: u32) -> io::Result<(Log, Option<Tree>)> {
        let dir = topic.join(number.to_string());
        let opened = Log::open(disk, &dir, true, None, &self.settings, &mut |_| {});
        let (log, _) = opened.map_err(io::Error::other)?;
        let tree = self.view.as_ref().map(|options| view::open(disk, &dir, 0, 0, options, false));
        Ok((log, tree.transpose()?.map(|(tree, _)| tree)))
    }
}

/// Replaces the description of a topic. Durable when this returns; after an error it may be the old or the new one.
pub fn describe(disk: &dyn Disk, topic: &Path, properties: &str) -> io::Result<()> {
    replace_file(disk, &topic.join(PROPERTIES), properties.as_bytes())
}

/// Whether the folder of a partition is not there, or holds nothing but what making it has put there.
pub fn is_virgin(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    let entries = match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    let is_empty = |name: &str, len| match classify(name) {
        Name::Log(base) => base == 0 && len == 0,
        Name::Known => name == mark::NAME || name == view::DIR,
        Name::Index(_) | Name::Temporary => true,
        Name::Unknown => false,
    };
    Ok(entries.iter().all(|e| (e.kind == Kind::File || e.name == view::DIR) && is_empty(&e.name, e.len)))
}

/// Removes a topic: it is gone when its name is, and a start removes what is left of it.
pub fn delete(disk: &dyn Disk, topics: &Path, name: &str) -> io::Result<()> {
    let aside = topics.join(format!("{DELETING}{name}"));
    remove_tree(disk, &aside)?;
    disk.rename(&topics.join(name), &aside)?;
    disk.sync_dir(topics)?;
    remove_tree(disk, &aside)?;
    disk.sync_dir(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn a_folder_that_holds_anything_is_not_taken_for_a_new_partition() {
        let sim = SimDisk::new(1);
        let dir = Path::new("/7");
        assert!(is_virgin(&sim, dir).unwrap(), "it is not there");
        Log::create(&sim, dir).unwrap();
        assert!(is_virgin(&sim, dir).unwrap());
        for (name, content) in
            [("00000000000000000000.log", &b"x"[..]), ("00000000000000000007.log", b""), ("notes", b"")]
        {
            let sim = sim.fork();
            sim.set_raw(&dir.join(name), content).unwrap();
            assert!(!is_virgin(&sim, dir).unwrap(), "{name}");
        }
    }
}
