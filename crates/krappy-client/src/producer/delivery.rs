//! How a caller hears what became of its record. One allocation serves a whole batch.

use crate::error::Error;
use krappy_wire::native::Level;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Where a record went and what is promised about it.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let producer = client.producer("orders").build()?;
/// let delivered = producer.send(krappy_client::Record::new("paid"))?.wait()?;
/// println!("{}@{}", delivered.partition, delivered.offset);
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The record's offset; -1 with [`Level::None`], where the broker does not say.
    pub offset: i64,
    /// The level that was reached, which may be higher than asked for.
    pub level: Level,
}

pub(crate) type Outcome = Result<Delivered, Error>;
pub(crate) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// What became of a batch: its level and first offset, once known.
#[derive(Default)]
pub(crate) struct Fate {
    outcome: Mutex<Option<Outcome>>,
    known: Condvar,
}

impl Fate {
    /// `outcome` is that of the first record.
    pub fn settle(&self, outcome: Outcome) {
        *self.outcome.lock().expect("settling does not panic") = Some(outcome);
        self.known.notify_all();
    }
}

/// The outcome of the record with this index, given that of the first of its batch.
pub(crate) fn of_index(outcome: Outcome, index: u32) -> Outcome {
    outcome.map(|first| match first.offset {
        ..0 => first,
        base => Delivered { offset: base + i64::from(index), ..first },
    })
}

/// A promise to say what became of one record. Dropping it does not take the record back.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// # let producer = client.producer("orders").build()?;
/// let deliveries: Vec<_> =
///     (0..10).map(|i| producer.send(krappy_client::Record::new(format!("{i}")))).collect::<Result<_, _>>()?;
/// for delivery in deliveries {
///     delivery.wait()?;
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Delivery {
    pub(crate) fate: Arc<Fate>,
    pub(crate) index: u32,
}

impl Delivery {
    /// Waits until the outcome is known: at the latest when the producer's delivery timeout has passed.
    pub fn wait(&self) -> Result<Delivered, Error> {
        let mut outcome = self.fate.outcome.lock().expect("settling does not panic");
        while outcome.is_none() {
            outcome = self.fate.known.wait(outcome).expect("settling does not panic");
        }
        of_index(outcome.clone().expect("just seen"), self.index)
    }

    /// Like [`Delivery::wait`], but gives up after `limit`; the record is delivered all the same.
    pub fn wait_timeout(&self, limit: Duration) -> Result<Delivered, Error> {
        let until = Instant::now() + limit;
        let mut outcome = self.fate.outcome.lock().expect("settling does not panic");
        while outcome.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut("the record is not delivered yet"));
            }
            outcome = self.fate.known.wait_timeout(outcome, left).expect("settling does not panic").0;
        }
        of_index(outcome.clone().expect("just seen"), self.index)
    }

    /// The outcome if it is known.
    pub fn poll(&self) -> Option<Result<Delivered, Error>> {
        let outcome = self.fate.outcome.lock().expect("settling does not panic").clone();
        outcome.map(|o| of_index(o, self.index))
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Delivery").field(&self.poll()).finish()
    }
}
