//! A second process that asks at the same time: it shares nothing with this one but the servers.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::membership::MembershipStore;
use membership_operator::membership::kv::{KvStore, Prefix, Settings};
use testbed::rate::{Others, times};
use tokio::task::spawn_blocking;

use super::{authorize_every_other, the_room};

const SERVERS: &str = "FIGURES_TEST_SERVERS";
const KEY: &str = "FIGURES_TEST_KEY";

/// What an answer begins with; the test runner says other things.
const TIMES: &str = "times: ";

/// The process.
pub struct Beside(Arc<Mutex<Pipes>>);

struct Pipes {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Beside {
    /// Starts it on these servers, with this key.
    pub fn started(urls: &str, key: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "figures::beside::the_other_process", "--nocapture", "--quiet"])
            .env(SERVERS, urls)
            .env(KEY, key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self(Arc::new(Mutex::new(Pipes { child, questions, answers })))
    }

    /// Its callers, who ask as many at once as they are told.
    pub fn others(&self) -> Others {
        let pipes = Arc::clone(&self.0);
        Arc::new(move |callers| {
            let pipes = Arc::clone(&pipes);
            let asked = spawn_blocking(move || pipes.lock().unwrap().ask(callers));
            async move { asked.await.unwrap() }.boxed()
        })
    }
}

impl Pipes {
    fn ask(&mut self, callers: usize) -> Vec<f64> {
        writeln!(self.questions.as_ref().unwrap(), "{callers}").unwrap();
        let said = self.answers.by_ref().map(Result::unwrap);
        let answer = said.filter_map(|line| Some(line.split_once(TIMES)?.1.to_owned())).next();
        serde_json::from_str(&answer.expect("the other process answers")).unwrap()
    }
}

/// It ends when nobody asks any more.
impl Drop for Pipes {
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}

/// The other process: alone, without the variables, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_process() {
    let (Ok(servers), Ok(key)) = (std::env::var(SERVERS), std::env::var(KEY)) else { return };
    let options = NatsOptions::new(&servers, Role::Membershipd).unwrap();
    let options = options.nkey(Some(Path::new(&key)));
    let store = KvStore::open(&options, Prefix::default(), Settings::default()).await.unwrap();
    let store: Arc<dyn MembershipStore> = Arc::new(store);
    let work = authorize_every_other(&store, &the_room(), 1);
    for callers in std::io::stdin().lines() {
        let times = times(&work, callers.unwrap().parse().unwrap()).await;
        println!("{TIMES}{}", serde_json::to_string(&times).unwrap());
    }
}
