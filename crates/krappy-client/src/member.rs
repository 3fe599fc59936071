//! A consumer that is a member of a group: it reads what the group gives it, and moves the group by committing.
//!
//! Invariant: what was handed out by one poll counts as done at the next one, and not before; so a partition is given
//! back, and its position committed, only after the caller has had its records. Whatever ends the stream, the member
//! joins again and goes on where the group has committed.

use crate::admin::checked;
use crate::client::Client;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::link::{Answer, Link, Message, Route};
use crate::records::Records;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Assigned, Commit, CommitAt, Head, RecordsPart, Reply, Request, Start};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settings of a member of a group. Made by [`crate::ConsumerBuilder::group`].
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let member = client.consumer("orders").group("billing").commit_every(None).build()?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct MemberBuilder {
    client: Client,
    topic: String,
    group: String,
    start: Start,
    buffer_bytes: u32,
    commit_every: Option<Duration>,
}

impl MemberBuilder {
    pub(crate) fn new(client: Client, topic: String, group: String, start: Start, buffer_bytes: u32) -> Self {
        let commit_every = Some(Duration::from_secs(5));
        Self { client, topic, group, start, buffer_bytes, commit_every }
    }

    /// How often [`Member::poll`] commits what earlier polls have handed out; `None` leaves it to [`Member::commit`].
    /// Five seconds unless set.
    pub fn commit_every(mut self, interval: Option<Duration>) -> Self {
        self.commit_every = interval;
        self
    }

    /// Joins the group.
    pub fn build(self) -> Result<Member, Error> {
        checked(&self.topic)?;
        if self.group.is_empty() || self.group.len() > 65_535 {
            return Err(Error::Invalid(format!("a group name of {} bytes", self.group.len())));
        }
        let shared = &self.client.shared;
        let until = Instant::now() + shared.connect_timeout();
        let mut member = Member {
            topic: self.topic.into(),
            group: self.group,
            start: self.start,
            buffer_bytes: self.buffer_bytes,
            commit_every: self.commit_every,
            inbox: Arc::default(),
            link: shared.link(until)?,
            stream: None,
            name: String::new(),
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            committed_at: Instant::now(),
            heard: Instant::now(),
            later: None,
            client: self.client,
        };
        member.join_on(Arc::clone(&member.link))?;
        member.wait_for_name()?;
        Ok(member)
    }
}

/// Reads what its group gives it of one topic.
///
/// ```no_run
/// use std::time::Duration;
///
/// let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let mut member = client.consumer("orders").group("billing").build()?;
/// loop {
///     for record in &member.poll(Duration::from_secs(1))? {
///         println!("{}@{}: {:?}", record.partition, record.offset, record.value);
///     }
///     member.commit()?;
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), krappy_client::Error>(())
/// ```
pub struct Member {
    client: Client,
    topic: Arc<str>,
    group: String,
    start: Start,
    buffer_bytes: u32,
    commit_every: Option<Duration>,
    inbox: Arc<Inbox>,
    link: Arc<Link>,
    /// Its stream, and the correlations of its registration and of its subscription.
    stream: Option<(u32, [u32; 2])>,
    name: String,
    /// The next offset to hand out, of each partition that it has been given.
    positions: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
    committed_at: Instant,
    heard: Instant,
    /// An error that was met after records which were handed out first.
    later: Option<Error>,
}

impl Member {
    /// Waits up to `timeout` for records. Returns what has arrived, at least one frame's worth; empty when nothing
    /// came, also while the broker cannot be reached or there is nothing to read for this member.
    ///
    /// What earlier polls have handed out counts as done: it is committed when it is time for that, and when a
    /// partition is given back.
    ///
    /// Records that were deleted before the group had read them are told once, as [`Error::Unreadable`]; the next poll
    /// goes on behind the gap. Other errors about a position come again until [`Self::commit_to`] moves past it.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut member = client.consumer("orders").group("billing").build()?;
    /// let records = member.poll(std::time::Duration::from_millis(500))?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Duration) -> Result<Records, Error> {
        if let Some(error) = self.later.take() {
            return Err(error);
        }
        let until = Instant::now() + timeout;
        if self.commit_every.is_some_and(|interval| self.committed_at.elapsed() >= interval) {
            self.commit_quietly()?;
        }
        let mut records = Records::new(Arc::clone(&self.topic));
        loop {
            if self.stream.is_none() && !self.join(until)? {
                return Ok(records);
            }
            let Some((stream, answer)) = self.inbox.next(until) else {
                self.client.shared.make_sure(&self.link, &mut self.heard);
                return Ok(records);
            };
            self.heard = Instant::now();
            if self.stream.is_none_or(|(mine, _)| mine != stream) {
                continue;
            }
            if let Err(error) = self.take(answer, &mut records) {
                let moved = self.step_over_gap(&error);
                self.leave();
                moved?;
                match error {
                    error if comes_back(&error) => {}
                    Error::Closed => return Err(error),
                    error if records.is_empty() => return Err(error),
                    error => self.later = Some(error),
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// Commits what was handed out. Durable when it returns.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut member = client.consumer("orders").group("billing").build()?;
    /// member.commit()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn commit(&mut self) -> Result<(), Error> {
        let moved = |(partition, offset): (&i32, &i64)| {
            (self.committed.get(partition) != Some(offset)).then_some((*partition, *offset))
        };
        let positions: Vec<(i32, i64)> = self.positions.iter().filter_map(moved).collect();
        self.commit_to(&positions)
    }

    /// Commits offsets of its partitions, each that of the next record to read. Durable when it returns. After an error
    /// of [`Self::poll`] the next poll goes on there.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let mut member = client.consumer("orders").group("billing").build()?;
    /// member.commit_to(&[(0, 42)])?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn commit_to(&mut self, positions: &[(i32, i64)]) -> Result<(), Error> {
        self.committed_at = Instant::now();
        if positions.is_empty() {
            return Ok(());
        }
        let Some((stream, _)) = self.stream else {
            return self.commit_and_leave(positions);
        };
        let at = |&(partition, offset): &(i32, i64)| CommitAt {
            topic: &self.topic,
            partition,
            offset,
            metadata: "",
        };
        let request = Request::Commit(Commit { group: "", positions: positions.iter().map(at).collect() });
        let message = self.link.call(stream, &request, self.client.shared.request_timeout())?;
        let Reply::Each { errors } = message.reply()? else { return Err(Error::unexpected("Commit")) };
        for (&number, &(partition, offset)) in errors.iter().zip(positions) {
            if number != ErrorCode::None.number() {
                let message = format!("{}/{partition} at {offset} was not committed", self.topic);
                return Err(Error::Refused { number, message, hint: String::new() });
            }
            self.committed.insert(partition, offset);
        }
        Ok(())
    }

    /// The partitions that it has been given, and the next offset to be handed out of each.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let member = client.consumer("orders").group("billing").build()?;
    /// println!("{} reads {:?}", member.name(), member.positions());
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// Its name in the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Commits what was handed out, if it commits by itself, and leaves the group. Dropping a member does the same, and
    /// keeps quiet about what goes wrong.
    ///
    /// ```no_run
    /// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
    /// # let member = client.consumer("orders").group("billing").build()?;
    /// member.close()?;
    /// # Ok::<(), krappy_client::Error>(())
    /// ```
    pub fn close(mut self) -> Result<(), Error> {
        let committed = if self.commit_every.is_some() { self.commit() } else { Ok(()) };
        // The drop that follows has nothing left to commit.
        self.commit_every = None;
        committed
    }

    /// The member has left its group after an error: it joins, commits, and joins anew with the next poll.
    fn commit_and_leave(&mut self, positions: &[(i32, i64)]) -> Result<(), Error> {
        if !self.join(Instant::now() + self.client.shared.request_timeout())? {
            return Err(Error::TimedOut("the broker cannot be reached"));
        }
        self.wait_for_name()?;
        let committed = self.commit_to(positions);
        self.leave();
        committed
    }

    /// Moves the group behind records that are gone.
    fn step_over_gap(&mut self, error: &Error) -> Result<(), Error> {
        match *error {
            Error::Unreadable { number, partition, log_start, .. }
                if number == ErrorCode::OffsetOutOfRange.number() =>
            {
                self.commit_to(&[(partition, log_start)])
            }
            _ => Ok(()),
        }
    }

    /// Waits until the registration is answered.
    fn wait_for_name(&mut self) -> Result<(), Error> {
        let until = Instant::now() + self.client.shared.request_timeout();
        let mut none = Records::new(Arc::clone(&self.topic));
        while self.name.is_empty() {
            let Some((_, answer)) = self.inbox.next(until) else {
                self.leave();
                return Err(Error::TimedOut("the broker did not answer"));
            };
            if let Err(error) = self.take(answer, &mut none) {
                self.leave();
                return Err(error);
            }
        }
        Ok(())
    }

    /// What a member that is none any more could not commit, whoever reads there now reads again.
    fn commit_quietly(&mut self) -> Result<(), Error> {
        match self.commit() {
            Err(error) if !comes_back(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Joins, again and again until it works. False when the time ran out first.
    fn join(&mut self, until: Instant) -> Result<bool, Error> {
        let shared = Arc::clone(&self.client.shared);
        loop {
            match shared.link(until).and_then(|link| self.join_on(link)) {
                Ok(()) => return Ok(true),
                Err(error) if !error.is_retriable() => return Err(error),
                Err(_) if Instant::now() + shared.backoff() >= until => return Ok(false),
                Err(_) => std::thread::sleep(shared.backoff()),
            }
        }
    }

    /// Sends the registration and the subscription. What comes of them is heard by [`Self::take`].
    fn join_on(&mut self, link: Arc<Link>) -> Result<(), Error> {
        self.link = link;
        let stream = self.link.stream_number();
        let correlations = [self.link.correlation(), self.link.correlation()];
        self.stream = Some((stream, correlations));
        self.name.clear();
        let ear = Arc::new(self.inbox.ear(stream));
        let (topic, group) = (Arc::clone(&self.topic), self.group.clone());
        let register =
            Request::RegisterConsumer { topic: &topic, group: &group, partition: -1, start: self.start };
        let subscribe = Request::Subscribe { credit: self.buffer_bytes };
        for (correlation, request) in correlations.into_iter().zip([register, subscribe]) {
            self.link.route(correlation, Route::Many(Arc::clone(&ear) as _));
            if let Err(error) = self.link.send(Head { stream, correlation }, &request) {
                self.leave();
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&mut self, answer: Answer, records: &mut Records) -> Result<(), Error> {
        let message = answer?;
        let result = self.take_frame(&message, records);
        if let Err(error @ Error::Malformed(_)) = &result {
            self.link.end(error.clone());
        }
        result
    }

    fn take_frame(&mut self, message: &Message, records: &mut Records) -> Result<(), Error> {
        match message.reply()? {
            Reply::ConsumerRegistered { member, .. } => self.name = member.into(),
            Reply::Assigned(assigned) => self.assigned(&assigned)?,
            Reply::Records { parts } => {
                let size = parts.iter().map(|part| part.batches.len()).sum::<usize>();
                for part in &parts {
                    self.take_part(message, part, records)?;
                }
                self.give_credit(size)?;
            }
            Reply::Ack => {}
            _ => return Err(Error::unexpected("RegisterConsumer")),
        }
        Ok(())
    }

    fn give_credit(&self, size: usize) -> Result<(), Error> {
        match self.stream {
            Some((stream, _)) if size > 0 => {
                let credit = Request::Credit { bytes: u32::try_from(size).unwrap_or(u32::MAX) };
                self.link.send(Head { stream, correlation: self.link.correlation() }, &credit)
            }
            _ => Ok(()),
        }
    }

    /// Reads something else from now on. What it gives back was handed out by earlier polls, so it is done.
    fn assigned(&mut self, assigned: &Assigned) -> Result<(), Error> {
        if assigned.release {
            if self.commit_every.is_some() {
                self.commit_quietly()?;
            }
            if let Some((stream, _)) = self.stream {
                let released = Request::Released { number: assigned.number };
                self.link.send(Head { stream, correlation: self.link.correlation() }, &released)?;
            }
        }
        let at = |&(partition, offset): &(i32, i64)| {
            (partition, self.positions.get(&partition).copied().unwrap_or(offset))
        };
        self.positions = assigned.positions.iter().map(at).collect();
        self.committed.retain(|partition, _| self.positions.contains_key(partition));
        Ok(())
    }

    fn take_part(
        &mut self,
        message: &Message,
        part: &RecordsPart<'_>,
        records: &mut Records,
    ) -> Result<(), Error> {
        let position = self.positions.get_mut(&part.partition);
        let position =
            position.ok_or_else(|| Error::malformed("records of a partition that was not assigned"))?;
        if part.error != ErrorCode::None.number() {
            return Err(Error::Unreadable {
                number: part.error,
                partition: part.partition,
                position: *position,
                log_start: part.log_start,
                high_watermark: part.high_watermark,
            });
        }
        if part.position > *position {
            return Err(Error::malformed("records were skipped"));
        }
        let (after, result) = records.add(&message.payload, part, *position);
        *position = after;
        result
    }

    /// Ends the stream, and with it the membership.
    fn leave(&mut self) {
        if let Some((stream, correlations)) = self.stream.take() {
            correlations.into_iter().for_each(|correlation| self.link.forget(correlation));
            let head = Head { stream, correlation: self.link.correlation() };
            // On a broken connection the stream has ended anyway.
            let _ = self.link.send(head, &Request::CloseStream);
        }
        // The last link may still tell the old one of its end, once for each route.
        self.inbox = Arc::default();
        self.positions.clear();
        self.committed.clear();
    }
}

/// Whether the member joins again and goes on.
fn comes_back(error: &Error) -> bool {
    let fenced = [
        ErrorCode::FencedMemberEpoch,
        ErrorCode::StaleMemberEpoch,
        ErrorCode::UnknownMemberId,
        ErrorCode::UnknownStream,
    ];
    matches!(error, Error::Disconnected(_)) || error.code().is_some_and(|code| fenced.contains(&code))
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Member");
        f.field("group", &self.group).field("name", &self.name).field("positions", &self.positions);
        f.finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.commit_every.is_some() {
            // Whoever wants to know calls `close`.
            let _ = self.commit();
        }
        self.leave();
    }
}
