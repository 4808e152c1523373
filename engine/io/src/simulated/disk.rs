//! The names of a simulated disk: the tree that programs see, the tree a crash would leave, and the journal between.
//!
//! Paths are made absolute and lexically clean, so `.` and the empty path are the root. A journal entry is a group of
//! changes that a crash keeps or loses as one (a rename removes a name and adds one). Syncing a directory makes durable
//! every group that touches a name in it, and every earlier group that touched a name of those groups: the order of
//! changes to one name is never turned round. Names in other directories stay at risk, as POSIX allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::content::Content;
use crate::clock::MonotonicTime;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory,
    File { content: Arc<Mutex<Content>>, named_at: MonotonicTime },
}

/// Names that change together; `None` removes.
type Group = Vec<(PathBuf, Option<Node>)>;

#[derive(Debug)]
pub(super) struct Disk {
    current: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    journal: Vec<Group>,
}

/// `path` from the root, without `.` and with `..` taken out by the text alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

impl Disk {
    pub(super) fn new() -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Directory)]);
        Self { current: root.clone(), durable: root, journal: Vec::new() }
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.current.get(path)
    }

    /// The entries directly in `directory`, by name.
    pub(super) fn children<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        self.below(directory).filter(move |(path, _)| path.parent() == Some(directory))
    }

    /// All that is below `path`, without `path` itself. `Path` compares by component, so a subtree is one range.
    pub(super) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        self.current
            .range::<Path, _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded))
            .take_while(move |(other, _)| other.starts_with(path))
    }

    pub(super) fn link(&mut self, path: PathBuf, node: Node) {
        self.record(vec![(path, Some(node))]);
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        self.record(vec![(path.to_path_buf(), None)]);
    }

    /// Moves `from` and all below it to `to`, which must not be below `from`.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        let moved: Vec<(PathBuf, Node)> = self
            .current
            .get_key_value(from)
            .into_iter()
            .chain(self.below(from))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        let mut group: Group = moved.iter().map(|(path, _)| (path.clone(), None)).collect();
        group.extend(moved.into_iter().map(|(path, node)| {
            let rest = path.strip_prefix(from).expect("it is below `from`");
            (if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) }, Some(node))
        }));
        self.record(group);
    }

    fn record(&mut self, group: Group) {
        apply(&mut self.current, &group);
        self.journal.push(group);
    }

    pub(super) fn sync_directory(&mut self, directory: &Path) {
        let mut names: BTreeSet<PathBuf> = BTreeSet::new();
        let mut chosen = vec![false; self.journal.len()];
        for (group, chosen) in self.journal.iter().zip(&mut chosen).rev() {
            *chosen = group.iter().any(|(path, _)| path.parent() == Some(directory) || names.contains(path.as_path()));
            if *chosen {
                names.extend(group.iter().map(|(path, _)| path.clone()));
            }
        }
        let mut chosen = chosen.into_iter();
        let durable = &mut self.durable;
        self.journal.retain(|group| {
            let chosen = chosen.next().unwrap_or(false);
            if chosen {
                apply(durable, group);
            }
            !chosen
        });
    }

    /// How many groups a crash would put at risk.
    pub(super) fn unsynced(&self) -> usize {
        self.journal.len()
    }

    /// Goes back to the durable names and the first `kept` groups of the journal. What is left without its directory
    /// is lost too. Returns the files that are left.
    pub(super) fn crash(&mut self, kept: usize) -> Vec<Arc<Mutex<Content>>> {
        for group in self.journal.drain(..).take(kept) {
            apply(&mut self.durable, &group);
        }
        // Parents sort before what is below them, so one pass sees every directory before its entries.
        let mut left: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut self.durable) {
            if path.parent().is_none_or(|parent| matches!(left.get(parent), Some(Node::Directory))) {
                left.insert(path, node);
            }
        }
        self.current.clone_from(&left);
        self.durable = left;
        self.current
            .values()
            .filter_map(|node| match node {
                Node::File { content, .. } => Some(Arc::clone(content)),
                Node::Directory => None,
            })
            .collect()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, group: &Group) {
    for (path, node) in group {
        match node {
            Some(node) => names.insert(path.clone(), node.clone()),
            None => names.remove(path),
        };
    }
}
