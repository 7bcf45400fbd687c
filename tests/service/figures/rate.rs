//! How often something can be done, and how long it takes: by so many callers at once, each doing it
//! again and again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use testbed::bench::Spread;
use tokio::task::JoinSet;

/// How long one measurement lasts.
const LASTING: Duration = Duration::from_secs(1);

/// What the caller of a number does once.
pub type Work = Arc<dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync>;

/// One measurement.
struct Rate {
    per_second: f64,
    p50: f64,
    p99: f64,
}

async fn measure(work: &Work, callers: usize) -> Rate {
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
    let mut times: Vec<f64> = running.join_all().await.into_iter().flatten().collect();
    let took = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Rate { per_second: figure(times.len()) / took, p50: at(50), p99: at(99) }
}

fn figure(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Something that is measured round by round beside others.
pub struct Contender {
    name: String,
    callers: usize,
    work: Work,
    rounds: Vec<Rate>,
}

impl Contender {
    pub fn new(name: impl Into<String>, callers: usize, work: Work) -> Self {
        Self { name: name.into(), callers, work, rounds: Vec::new() }
    }

    pub async fn go_a_round(&mut self) {
        let rate = measure(&self.work, self.callers).await;
        self.rounds.push(rate);
    }

    pub fn is(&self, name: &str, callers: usize) -> bool {
        self.name == name && self.callers == callers
    }

    /// The median.
    pub fn per_second(&self) -> f64 {
        self.spread(|rate| rate.per_second).median
    }

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
