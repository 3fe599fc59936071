//! The names of the simulated file system, each as a running process sees it and as a power cut leaves it.
//!
//! Invariant: durable names change only by a successful sync of their directory or by a crash; between the two, the
//! visible names are the durable ones with every unsynced change applied in order. A change that a failed sync has
//! covered stays visible and can never become durable.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::content::Content;
use super::{Crash, Rng};
use crate::disk::{Entry, Kind};

/// A file or directory, whatever its name is at the moment.
pub(super) type Id = u64;

const ROOT: Id = 0;

#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<Id, Node>,
    next: Id,
    /// Changes of names that no directory sync has made durable, oldest first.
    unsynced: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum Node {
    File(Content),
    Dir(Names),
}

#[derive(Debug, Clone, Default)]
struct Names {
    visible: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
}

#[derive(Debug, Clone)]
struct NameChange {
    what: NameWhat,
    doomed: bool,
    /// Of a doomed change: names that were written anew since, durably, and so can be built on again.
    healed: Vec<Name>,
}

impl NameChange {
    /// The names that a crash takes back with this change.
    fn at_stake(&self) -> impl Iterator<Item = &Name> {
        self.what.names().filter(|name| !self.healed.contains(name))
    }
}

/// One name: the directory and the entry in it.
type Name = (Id, String);

#[derive(Debug, Clone, Hash)]
enum NameWhat {
    Link { name: Name, id: Id },
    Unlink { name: Name },
    Rename { from: Name, to: Name, id: Id },
}

impl Tree {
    /// An empty root directory.
    pub(super) fn new() -> Tree {
        Tree { nodes: BTreeMap::from([(ROOT, Node::Dir(Names::default()))]), next: 1, unsynced: Vec::new() }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for name in parts(path)? {
            id = *self.names(id)?.visible.get(&name).ok_or_else(|| os_error(libc::ENOENT))?;
        }
        Ok(id)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Id> {
        let id = self.find(path)?;
        match self.nodes[&id] {
            Node::File(_) => Ok(id),
            Node::Dir(_) => Err(os_error(libc::EISDIR)),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Id> {
        self.create(path, Node::File(Content::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path) {
            Ok(id) => self.names(id).map(drop),
            Err(_) => self.create(path, Node::Dir(Names::default())).map(drop),
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        let name = self.locate(path)?;
        if self.lookup(&name).is_some() {
            return Err(os_error(libc::EEXIST));
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.rename_now(NameWhat::Link { name, id });
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if to != from && to.starts_with(from) {
            return Err(os_error(libc::EINVAL));
        }
        let (from, to) = (self.locate(from)?, self.locate(to)?);
        let id = self.lookup(&from).ok_or_else(|| os_error(libc::ENOENT))?;
        if from == to {
            return Ok(());
        }
        let moves_dir = matches!(self.nodes[&id], Node::Dir(_));
        match self.lookup(&to).map(|old| &self.nodes[&old]) {
            Some(Node::Dir(_)) if !moves_dir => return Err(os_error(libc::EISDIR)),
            Some(Node::Dir(names)) if !names.visible.is_empty() => return Err(os_error(libc::ENOTEMPTY)),
            Some(Node::File(_)) if moves_dir => return Err(os_error(libc::ENOTDIR)),
            _ => {}
        }
        self.rename_now(NameWhat::Rename { from, to, id });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        let name = self.locate(path)?;
        self.rename_now(NameWhat::Unlink { name });
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        if !self.names(id)?.visible.is_empty() {
            return Err(os_error(libc::ENOTEMPTY));
        }
        let name = self.locate(path)?;
        self.rename_now(NameWhat::Unlink { name });
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let names = &self.names(self.find(path)?)?.visible;
        Ok(names.iter().map(|(name, id)| self.describe(name, *id)).collect())
    }

    fn describe(&self, name: &str, id: Id) -> Entry {
        let (kind, len) = match &self.nodes[&id] {
            Node::File(content) => (Kind::File, content.visible().len() as u64),
            Node::Dir(_) => (Kind::Dir, 0),
        };
        Entry { name: name.to_owned(), kind, len }
    }

    /// Makes the changes of names in this directory durable, and the earlier ones that they build on.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        for change in self.take_unsynced_of(path)? {
            if !change.doomed {
                change.what.apply(&mut self.nodes, |names| &mut names.durable);
            }
        }
        self.forget_unreachable();
        Ok(())
    }

    /// A sync of this directory failed: its unsynced changes are lost at the next crash, whatever syncs follow.
    pub(super) fn doom_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find(path)?;
        for change in self.unsynced.iter_mut().filter(|c| c.what.names().any(|n| n.0 == dir)) {
            change.doomed = true;
        }
        Ok(())
    }

    /// Takes out the changes that a sync of this directory covers. One that builds on a doomed change is doomed too; it
    /// stays, for later changes to find it.
    fn take_unsynced_of(&mut self, path: &Path) -> io::Result<Vec<NameChange>> {
        let dir = self.find(path)?;
        self.names(dir)?;
        self.spread_doom();
        let mut needed: BTreeSet<Name> = BTreeSet::new();
        let (mut covered, mut rest) = (Vec::new(), Vec::new());
        for mut change in self.unsynced.drain(..).rev() {
            if !change.doomed && change.what.names().any(|n| n.0 == dir || needed.contains(n)) {
                needed.extend(change.what.names().cloned());
                covered.push(change);
            } else {
                if change.doomed {
                    change.healed.extend(change.what.names().filter(|n| needed.contains(n)).cloned());
                }
                rest.push(change);
            }
        }
        covered.reverse();
        rest.reverse();
        self.unsynced = rest;
        Ok(covered)
    }

    fn spread_doom(&mut self) {
        let mut doomed: BTreeSet<Name> = BTreeSet::new();
        for change in &mut self.unsynced {
            change.doomed |= change.what.needs().is_some_and(|n| doomed.contains(n));
            if change.doomed {
                doomed.extend(change.at_stake().cloned());
            } else {
                // Whoever writes the entry anew has it written again.
                for name in change.what.names() {
                    doomed.remove(name);
                }
            }
        }
    }

    fn rename_now(&mut self, what: NameWhat) {
        what.apply(&mut self.nodes, |names| &mut names.visible);
        self.unsynced.push(NameChange { what, doomed: false, healed: Vec::new() });
    }

    /// Splits a path into its directory and last name.
    fn locate(&self, path: &Path) -> io::Result<Name> {
        let mut names = parts(path)?;
        let last = names.pop().ok_or_else(|| os_error(libc::EBUSY))?;
        let dir = self.find(&names.iter().collect::<PathBuf>())?;
        self.names(dir)?;
        Ok((dir, last))
    }

    fn lookup(&self, name: &Name) -> Option<Id> {
        self.names(name.0).ok()?.visible.get(&name.1).copied()
    }

    fn names(&self, id: Id) -> io::Result<&Names> {
        match &self.nodes[&id] {
            Node::Dir(names) => Ok(names),
            Node::File(_) => Err(os_error(libc::ENOTDIR)),
        }
    }
}

impl NameWhat {
    fn names(&self) -> impl Iterator<Item = &Name> {
        let (first, second) = match self {
            NameWhat::Link { name, .. } | NameWhat::Unlink { name } => (name, None),
            NameWhat::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    /// The name that must be there for this change to be possible.
    fn needs(&self) -> Option<&Name> {
        match self {
            NameWhat::Link { .. } => None,
            NameWhat::Unlink { name } => Some(name),
            NameWhat::Rename { from, .. } => Some(from),
        }
    }

    fn apply(&self, nodes: &mut BTreeMap<Id, Node>, side: fn(&mut Names) -> &mut BTreeMap<String, Id>) {
        let (remove, insert) = match self {
            NameWhat::Link { name, id } => (None, Some((name, id))),
            NameWhat::Unlink { name } => (Some(name), None),
            NameWhat::Rename { from, to, id } => (Some(from), Some((to, id))),
        };
        // The directory may be gone: removed, or not kept by the crash.
        if let Some((dir, name)) = remove
            && let Some(Node::Dir(names)) = nodes.get_mut(dir)
        {
            side(names).remove(name);
        }
        if let Some(((dir, name), id)) = insert
            && let Some(Node::Dir(names)) = nodes.get_mut(dir)
        {
            side(names).insert(name.clone(), *id);
        }
    }
}

/// Files.
impl Tree {
    /// The content of a file.
    pub(super) fn file(&self, id: Id) -> &Content {
        match &self.nodes[&id] {
            Node::File(content) => content,
            Node::Dir(_) => panic!("number {id} is a directory"),
        }
    }

    pub(super) fn file_mut(&mut self, id: Id) -> &mut Content {
        match self.nodes.get_mut(&id) {
            Some(Node::File(content)) => content,
            _ => panic!("no file has the number {id}"),
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let files = self.files();
        files.iter().map(|(_, id)| self.file(*id).visible().len() as u64).sum()
    }

    /// Every file with its path, in order.
    pub(super) fn files(&self) -> Vec<(PathBuf, Id)> {
        let mut found = Vec::new();
        self.walk(ROOT, &PathBuf::from("/"), &mut found);
        found
    }

    fn walk(&self, dir: Id, path: &Path, found: &mut Vec<(PathBuf, Id)>) {
        for (name, id) in &self.names(dir).expect("only directories are walked").visible {
            match &self.nodes[id] {
                Node::File(_) => found.push((path.join(name), *id)),
                Node::Dir(_) => self.walk(*id, &path.join(name), found),
            }
        }
    }
}

/// Crashes.
impl Tree {
    /// Leaves what a crash of this kind leaves. No handle survives it.
    pub(super) fn crash(&mut self, how: Crash) {
        for node in self.nodes.values_mut() {
            if let Node::File(content) = node {
                content.forget_handles();
            }
        }
        match how {
            Crash::KeepAll => {}
            Crash::LoseAll => self.cut_power(None),
            Crash::Random(seed) => self.cut_power(Some(Rng::new(seed))),
        }
        self.forget_unreachable();
    }

    fn cut_power(&mut self, mut rng: Option<Rng>) {
        self.lose_names(rng.as_mut());
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => content.cut_power(rng.as_mut()),
                Node::Dir(names) => names.visible = names.durable.clone(),
            }
        }
    }

    /// Keeps some of the unsynced changes of names: any, except that one survives only if every earlier change of the
    /// same name has. A file system may commit names in any order, but it cannot rename what it never created.
    fn lose_names(&mut self, mut rng: Option<&mut Rng>) {
        let mut lost: BTreeSet<Name> = BTreeSet::new();
        for change in std::mem::take(&mut self.unsynced) {
            let lucky = rng.as_mut().is_some_and(|rng| rng.below(2) == 0);
            if lucky && !change.doomed && !change.what.names().any(|n| lost.contains(n)) {
                change.what.apply(&mut self.nodes, |names| &mut names.durable);
            } else {
                lost.extend(change.at_stake().cloned());
            }
        }
    }

    /// Drops files and directories that no name, no unsynced change and no handle leads to.
    fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut todo: Vec<Id> = vec![ROOT];
        todo.extend(self.unsynced.iter().filter_map(|c| match c.what {
            NameWhat::Link { id, .. } | NameWhat::Rename { id, .. } => Some(id),
            NameWhat::Unlink { .. } => None,
        }));
        while let Some(id) = todo.pop() {
            reachable.insert(id);
            if let Some(Node::Dir(names)) = self.nodes.get(&id) {
                let children = names.visible.values().chain(names.durable.values());
                todo.extend(children.filter(|child| !reachable.contains(child)));
            }
        }
        self.nodes.retain(|id, node| {
            reachable.contains(id) || matches!(node, Node::File(content) if content.is_open())
        });
    }

    /// A number that differs, in all likelihood, when anything visible or durable differs.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for change in &self.unsynced {
            (&change.what, change.doomed).hash(&mut hasher);
        }
        for (id, node) in &self.nodes {
            id.hash(&mut hasher);
            match node {
                Node::File(content) => content.hash(&mut hasher),
                Node::Dir(names) => (&names.visible, &names.durable).hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}

/// The names along a path. Paths start at the root, with or without a slash.
fn parts(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or_else(|| os_error(libc::EILSEQ))?.to_owned());
            }
            Component::ParentDir | Component::Prefix(_) => return Err(os_error(libc::EINVAL)),
        }
    }
    Ok(names)
}

pub(super) fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
