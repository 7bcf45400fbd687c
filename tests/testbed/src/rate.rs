//! How often something can be done, and how long it takes: by so many callers at once, each doing it
//! again and again.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::bench::Spread;

/// How long one measurement lasts.
const LASTING: Duration = Duration::from_secs(1);

/// What so many callers do, or the caller of a number.
type Doing<T> = Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;

/// What the caller of a number does once.
pub type Work = Doing<()>;

/// Lets so many callers of another process go at it; gives how many milliseconds each thing took.
pub type Others = Doing<Vec<f64>>;

/// One measurement.
struct Rate {
    per_second: f64,
    p50: f64,
    p99: f64,
}

/// How many milliseconds each thing took that so many callers did.
pub async fn times(work: &Work, callers: usize) -> Vec<f64> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let work = Arc::clone(work);
        running.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < LASTING {
                let start = Instant::now();
                work(caller).await;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

fn rate(mut times: Vec<f64>, took: Duration) -> Rate {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Rate { per_second: figure(times.len()) / took.as_secs_f64(), p50: at(50), p99: at(99) }
}

fn figure(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Something that is measured round by round beside others.
pub struct Contender {
    name: String,
    callers: usize,
    work: Work,
    others: Option<Others>,
    rounds: Vec<Rate>,
}

impl Contender {
    /// Something that so many callers do.
    pub fn new(name: impl Into<String>, callers: usize, work: Work) -> Self {
        Self { name: name.into(), callers, work, others: None, rounds: Vec::new() }
    }

    /// The same, half of it done by others.
    #[must_use]
    pub fn shared(self, others: Others) -> Self {
        Self { others: Some(others), ..self }
    }

    async fn go_a_round(&mut self) {
        let began = Instant::now();
        let there = self.others.as_ref().map_or(0, |_| self.callers / 2);
        let of_others = async {
            match &self.others {
                Some(others) if there > 0 => others(there).await,
                Some(_) | None => Vec::new(),
            }
        };
        let (mut all, more) = tokio::join!(times(&self.work, self.callers - there), of_others);
        all.extend(more);
        self.rounds.push(rate(all, began.elapsed()));
    }

    #[expect(clippy::expect_used, reason = "only what was measured is in a table")]
    fn spread(&self, of: impl Fn(&Rate) -> f64) -> Spread {
        let figures: Vec<f64> = self.rounds.iter().map(of).collect();
        Spread::of(&figures).expect("at least one round")
    }
}

/// A line of the table: medians, and the range of the rate.
impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.spread(|rate| rate.per_second);
        let (p50, p99) = (self.spread(|rate| rate.p50), self.spread(|rate| rate.p99));
        write!(
            f,
            "{:<44} {:>4} {:>8.0} ({:.0} to {:.0})  {:>8.2}  {:>8.2}",
            self.name, self.callers, rate.median, rate.least, rate.greatest, p50.median, p99.median
        )
    }
}

/// What was measured: each contender in each round, so that what the machine does meets all alike.
pub struct Table(Vec<Contender>);

impl Table {
    /// Measures all of them in so many rounds, at least one.
    pub async fn of(mut contenders: Vec<Contender>, rounds: usize) -> Self {
        for _ in 0..rounds {
            for contender in &mut contenders {
                contender.go_a_round().await;
            }
        }
        Self(contenders)
    }

    /// How often so many callers did the thing of a name in a second: the median.
    #[must_use]
    pub fn per_second(&self, name: &str, callers: usize) -> Option<f64> {
        let mut all = self.0.iter();
        let one = all.find(|one| one.name == name && one.callers == callers)?;
        Some(one.spread(|rate| rate.per_second).median)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} callers per second (range)  p50 ms  p99 ms", "")?;
        self.0.iter().try_for_each(|contender| writeln!(f, "{contender}"))
    }
}
