//! The content of one simulated file, as a running process sees it and as a power cut leaves it.
//!
//! Invariant: `durable` changes only by a successful sync or a crash; between the two, `visible` is `durable` with
//! every unsynced change applied in order. A change that a failed sync has covered stays visible and can never become
//! durable: that is what Linux does with pages whose write-back failed.

use super::Rng;

/// What a device writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    handles: usize,
}

#[derive(Debug, Clone, Hash)]
struct Change {
    what: What,
    /// A sync that covered this change has failed.
    doomed: bool,
}

#[derive(Debug, Clone, Hash)]
enum What {
    Write { at: usize, bytes: Vec<u8> },
    Resize { len: usize },
}

impl Content {
    pub(super) fn visible(&self) -> &[u8] {
        &self.visible
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn write(&mut self, at: u64, bytes: Vec<u8>) {
        self.change(What::Write { at: at as usize, bytes });
    }

    pub(super) fn resize(&mut self, len: u64) {
        self.change(What::Resize { len: len as usize });
    }

    fn change(&mut self, what: What) {
        what.apply(&mut self.visible);
        self.unsynced.push(Change { what, doomed: false });
    }

    pub(super) fn sync(&mut self) {
        let (doomed, synced) = std::mem::take(&mut self.unsynced).into_iter().partition(|c| c.doomed);
        self.unsynced = doomed;
        for change in synced {
            change.what.apply(&mut self.durable);
        }
    }

    /// A sync failed: the unsynced changes stay readable until the next power cut and are lost then.
    pub(super) fn doom(&mut self) {
        self.unsynced.iter_mut().for_each(|c| c.doomed = true);
    }

    /// Leaves what is durable and, with a generator, some of what is not.
    pub(super) fn cut_power(&mut self, mut rng: Option<&mut Rng>) {
        for change in std::mem::take(&mut self.unsynced) {
            if let (false, Some(rng)) = (change.doomed, rng.as_mut()) {
                change.what.apply_some(&mut self.durable, rng);
            }
        }
        self.visible = self.durable.clone();
    }

    /// Changes bytes behind the file system's back, in memory and on the device.
    pub(super) fn tamper(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(&mut self.visible);
        change(&mut self.durable);
    }

    pub(super) fn opened(&mut self) {
        self.handles += 1;
    }

    pub(super) fn closed(&mut self) {
        self.handles -= 1;
    }

    pub(super) fn forget_handles(&mut self) {
        self.handles = 0;
    }

    pub(super) fn is_open(&self) -> bool {
        self.handles > 0
    }
}

impl What {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            What::Write { at, bytes } => overwrite(content, *at, bytes),
            What::Resize { len } => content.resize(*len, 0),
        }
    }

    /// What a power cut leaves of this change.
    fn apply_some(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        match (rng.below(5), self) {
            (0, _) => {}
            // The new length reached the device and the content did not.
            (1, What::Write { at, bytes }) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
            }
            (2, What::Write { at, bytes }) => tear(content, *at, bytes, rng),
            _ => self.apply(content),
        }
    }
}

fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// Each sector of a write survives or not, on its own; the length reaches the end of the write or of what survived.
fn tear(content: &mut Vec<u8>, at: usize, bytes: &[u8], rng: &mut Rng) {
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
        if rng.below(2) == 0 {
            overwrite(content, at + from, &bytes[from..to]);
        }
        from = to;
    }
    let end = at + bytes.len();
    if content.len() < end && rng.below(2) == 0 {
        content.resize(end, 0);
    }
}
