//! Wires that fail on purpose, put between a store and its servers.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use membership_operator::jetstream::batch::OrderedTransport;
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::transport::{Request, Silence, Transport};

/// What a wire does with one request.
pub enum Fate {
    /// It passes.
    Pass,
    /// It never leaves.
    Drop,
    /// It passes and its answer is lost.
    LoseAnswer,
    /// This is answered, and it never leaves.
    Answer(Vec<u8>),
}

/// Decides what becomes of requests.
pub trait Nature: Send + Sync {
    /// Of this one.
    fn fate(&self, request: &Request) -> Fate;

    /// A request that passed was answered.
    fn answered(&self, _request: &Request) {}

    /// The store gave its connection up.
    fn retired(&self) {}
}

/// A wire with a nature of its own.
pub struct Wire<N> {
    pub link: Link,
    pub nature: N,
}

/// A write of a record.
pub fn is_write(request: &Request) -> bool {
    request.subject.starts_with("$KV.") && !is_fence(request)
}

/// A fence.
pub fn is_fence(request: &Request) -> bool {
    request.subject.contains("._fence.")
}

#[async_trait]
impl<N: Nature> Transport for Wire<N> {
    async fn request(&self, request: Request, within: Duration) -> Result<Bytes, Silence> {
        self.request_after(Vec::new(), request, within).await
    }

    fn retire(&self) {
        self.nature.retired();
        self.link.retire();
    }
}

#[async_trait]
impl<N: Nature> OrderedTransport for Wire<N> {
    async fn request_after(
        &self,
        before: Vec<Request>,
        last: Request,
        within: Duration,
    ) -> Result<Bytes, Silence> {
        let fate = self.nature.fate(&last);
        match fate {
            Fate::Drop => return Err(Silence::NotSent("the process is dead".to_owned())),
            Fate::Answer(answer) => return Ok(answer.into()),
            Fate::Pass | Fate::LoseAnswer => {}
        }
        let answer = self.link.request_after(before, last.clone(), within).await;
        self.nature.answered(&last);
        match fate {
            Fate::LoseAnswer => Err(Silence::NoAnswer),
            Fate::Pass | Fate::Drop | Fate::Answer(_) => answer,
        }
    }
}

/// A process that dies after so many writes. A batch is one.
pub struct DiesAfter {
    left: AtomicUsize,
    dead: AtomicBool,
}

impl DiesAfter {
    pub fn writes(count: usize) -> Self {
        Self { left: AtomicUsize::new(count), dead: AtomicBool::new(false) }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }
}

impl Nature for DiesAfter {
    fn fate(&self, request: &Request) -> Fate {
        if is_write(request) && self.left.load(Ordering::Acquire) == 0 {
            self.dead.store(true, Ordering::Release);
        }
        if self.is_dead() { Fate::Drop } else { Fate::Pass }
    }

    fn answered(&self, request: &Request) {
        if is_write(request) && self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.dead.store(true, Ordering::Release);
        }
    }
}

/// Loses the answers to the first so many writes.
pub struct LosesAnswers {
    pub left: AtomicUsize,
    /// Loses them all.
    pub deaf: AtomicBool,
    pub retired: AtomicBool,
}

impl LosesAnswers {
    pub fn to_writes(count: usize) -> Self {
        let (deaf, retired) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { left: AtomicUsize::new(count), deaf, retired }
    }
}

impl Nature for LosesAnswers {
    fn fate(&self, request: &Request) -> Fate {
        if self.deaf.load(Ordering::Acquire) && is_write(request) {
            return Fate::LoseAnswer;
        }
        let lose = is_write(request)
            && self
                .left
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
                .is_ok();
        if lose { Fate::LoseAnswer } else { Fate::Pass }
    }

    fn retired(&self) {
        self.retired.store(true, Ordering::Release);
    }
}

/// Answers everything, or every fence, with the same bytes once it is told to.
#[derive(Default)]
pub struct Answers {
    pub all: Mutex<Option<Vec<u8>>>,
    pub fences: Mutex<Option<Vec<u8>>>,
}

impl Nature for Answers {
    fn fate(&self, request: &Request) -> Fate {
        if let Some(answer) = self.all.lock().unwrap().clone() {
            return Fate::Answer(answer);
        }
        match self.fences.lock().unwrap().clone() {
            Some(answer) if is_fence(request) => Fate::Answer(answer),
            Some(_) | None => Fate::Pass,
        }
    }
}

/// Counts the fences, and how many on one subject were in flight at once.
#[derive(Default)]
pub struct CountsFences {
    pub sent: AtomicUsize,
    open: Mutex<HashMap<String, usize>>,
    pub most_at_once: AtomicUsize,
}

fn fenced(request: &Request) -> Option<String> {
    let subject = request.headers.get("Nats-Expected-Last-Subject-Sequence-Subject");
    subject.filter(|_| is_fence(request)).map(ToString::to_string)
}

impl Nature for CountsFences {
    fn fate(&self, request: &Request) -> Fate {
        if let Some(subject) = fenced(request) {
            let mut open = self.open.lock().unwrap();
            let now = open.entry(subject).or_default();
            *now += 1;
            self.most_at_once.fetch_max(*now, Ordering::AcqRel);
            self.sent.fetch_add(1, Ordering::AcqRel);
        }
        Fate::Pass
    }

    fn answered(&self, request: &Request) {
        if let Some(subject) = fenced(request)
            && let Some(now) = self.open.lock().unwrap().get_mut(&subject)
        {
            *now -= 1;
        }
    }
}

/// Once a fence was acknowledged, answers questions as they were answered in the past: the next one
/// who is asked is a leader that is none any more.
#[derive(Default)]
pub struct FallsBack {
    /// What was answered to questions with these subjects.
    pub past: Mutex<HashMap<String, Vec<u8>>>,
    pub fenced: AtomicBool,
}

impl Nature for FallsBack {
    fn fate(&self, request: &Request) -> Fate {
        let past = self.past.lock().unwrap();
        match past.get(&request.subject) {
            Some(answer) if self.fenced.load(Ordering::Acquire) => Fate::Answer(answer.clone()),
            Some(_) | None => Fate::Pass,
        }
    }

    fn answered(&self, request: &Request) {
        self.fenced.fetch_or(is_fence(request), Ordering::AcqRel);
    }
}
