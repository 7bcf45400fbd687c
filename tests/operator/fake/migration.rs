//! The source of a migration, and Jobs that do what each was told to come to.

use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::jiff::Timestamp;
use membership_operator::api::v1alpha1::MigrationCounts;
use membership_operator::cluster::migration::{
    Job, JobEnd, JobWords, Mark, Seen, SourceClaim, SourceUser, Wanted,
};
use membership_operator::cluster::names::Bucket;
use membership_operator::cluster::plan::{JobPlan, ObjectId};
use membership_operator::cluster::validate::ValidatedCluster;
use membership_operator::cluster::world::Found;

use super::Fake;

pub const IMAGE: &str = "ghcr.io/unibus/membership-operator:0.1.0";

/// An image that no node can have.
pub const MISSING_IMAGE: &str = "registry.example/missing:1";

/// How many seconds a Job works.
const WORK: u8 = 6;

#[derive(Clone, Default)]
pub struct Migration {
    pub claim: Option<SourceClaim>,
    pub no_backup_claim: bool,
    pub users: Vec<SourceUser>,
    pub jobs: BTreeMap<u32, FakeJob>,
    /// What the next Jobs end in: an exit code and a reason. Success when there is none.
    pub ends: VecDeque<(i32, &'static str)>,
    pub retry: Option<String>,
    /// The operator's own image, where another one than at first.
    pub default_image: Option<String>,
    /// Jobs that take down the fence.
    pub unfences: BTreeMap<u32, FakeJob>,
    /// What the next of them end in.
    pub unfence_ends: VecDeque<(i32, &'static str)>,
    /// The fence is up.
    pub fenced: bool,
    /// Jobs made at any time.
    pub made: u32,
}

#[derive(Clone)]
pub struct FakeJob {
    pub job: Job,
    owner: String,
    left: u8,
}

/// A claim that is released to the resource and bound.
pub fn released() -> SourceClaim {
    SourceClaim {
        uid: "source-1".to_owned(),
        resource_version: "1".to_owned(),
        bound: true,
        deleting: false,
        released_to: Some("demo".to_owned()),
        exclusive: false,
    }
}

impl Fake {
    pub(super) fn see_migration(&self, cluster: &ValidatedCluster) -> Seen {
        let own = |job: &FakeJob| {
            if job.owner == self.uid { Found::Ours(job.job.clone()) } else { Found::Old }
        };
        let jobs = self.migration.jobs.values();
        Seen {
            claim: self.migration.claim.clone(),
            backup_claim: !self.migration.no_backup_claim,
            users: if cluster.migration.is_some() {
                self.migration.users.iter().cloned().chain(self.own_users()).collect()
            } else {
                Vec::new()
            },
            jobs: jobs.map(|job| (job.job.id.name.clone(), own(job))).collect(),
            unfences: self
                .migration
                .unfences
                .values()
                .map(|job| (job.job.id.name.clone(), own(job)))
                .collect(),
        }
    }

    pub(super) fn run_migration(&mut self, plan: &JobPlan) -> bool {
        if self.migration.jobs.contains_key(&plan.number) {
            return false;
        }
        if self.migration.jobs.values().any(|job| job.job.end.is_none() && !job.job.suspended) {
            self.violate("two migrations at once");
        }
        self.judge_neighbours(plan);
        if self
            .control
            .as_ref()
            .and_then(|record| record.migration.as_ref())
            .is_some_and(|m| m.done)
        {
            self.violate("a migration after the last one was done");
        }
        if self.control.as_ref().is_some_and(|record| record.served) {
            self.violate("a migration into buckets that were served from");
        }
        let wanted = usize::from(self.cluster().bucket_replicas);
        if !Bucket::ALL.iter().all(|bucket| self.is_equal(*bucket, wanted)) {
            self.violate("a migration before the buckets were equal");
        }
        let free = self.migration.users.is_empty();
        if !free || self.migration.claim.as_ref().is_none_or(|claim| !claim.bound) {
            self.violate("a migration over a source that is in use or not there");
        }
        let job = self.new_job(plan, Self::names().migration_job(plan.number));
        self.migration.jobs.insert(plan.number, job);
        self.migration.made += 1;
        true
    }

    /// A Job is beside the file's service exactly where that may be.
    fn judge_neighbours(&mut self, plan: &JobPlan) {
        let others = self.own_users().len();
        let exclusive = self.migration.claim.as_ref().is_some_and(|claim| claim.exclusive);
        if plan.beside != (others == 1) || (plan.beside && exclusive) {
            self.violate(&format!("a Job with beside={} and {others} services", plan.beside));
        }
        let working = |jobs: &BTreeMap<u32, FakeJob>| jobs.values().any(|job| job.job.working);
        if working(&self.migration.jobs) || working(&self.migration.unfences) {
            self.violate("two Jobs over one file");
        }
    }

    pub(super) fn run_unfence(&mut self, plan: &JobPlan) -> bool {
        if self.migration.unfences.contains_key(&plan.number) {
            return false;
        }
        self.judge_neighbours(plan);
        let job = self.new_job(plan, Self::names().unfence_job(plan.number));
        self.migration.unfences.insert(plan.number, job);
        true
    }

    pub(super) fn suspend(&mut self, id: &ObjectId) {
        for job in self.migration.jobs.values_mut().filter(|job| job.job.id.uid == id.uid) {
            job.job.suspended = true;
            job.left = 2;
        }
    }

    fn new_job(&mut self, plan: &JobPlan, name: String) -> FakeJob {
        let source = Wanted::of(&serde_json::from_value(self.spec.clone()).unwrap());
        let job = Job {
            id: ObjectId { name, uid: self.serial("job"), resource_version: self.serial("rv") },
            number: plan.number,
            source: source.map(|wanted| wanted.source.to_string()),
            image: Some(plan.image.clone()),
            asked: Some(plan.asked.clone()),
            circumstances: Some(plan.circumstances.clone()),
            tries: plan.tries,
            started: Some(Timestamp::from_second(self.now).unwrap()),
            working: true,
            ..Job::default()
        };
        FakeJob { job, owner: self.uid.clone(), left: WORK }
    }

    pub(super) fn delete_job(&mut self, id: &ObjectId) {
        let jobs = self.migration.jobs.values_mut().chain(self.migration.unfences.values_mut());
        for job in jobs.filter(|job| job.job.id.uid == id.uid) {
            job.job.deleting = true;
            job.left = 2;
        }
    }

    pub(super) fn jobs_live(&mut self) {
        let gone = !self.exists;
        let all = self.migration.jobs.values_mut().chain(self.migration.unfences.values_mut());
        for job in all {
            job.job.deleting |= gone || job.owner != self.uid;
        }
        self.migration.jobs.retain(|_, job| !job.job.deleting || job.left > 0);
        self.migration.unfences.retain(|_, job| !job.job.deleting || job.left > 0);
        self.unfences_live();
        let numbers: Vec<u32> = self.migration.jobs.keys().copied().collect();
        for number in numbers {
            self.job_lives(number);
        }
    }

    fn job_lives(&mut self, number: u32) {
        let led =
            Bucket::ALL.iter().all(|b| self.streams.get(b).is_some_and(|s| s.leader.is_some()));
        let job = self.migration.jobs.get_mut(&number).unwrap();
        if job.job.deleting {
            job.left = job.left.saturating_sub(1);
            return;
        }
        if job.job.suspended && job.job.end.is_none() {
            job.left = job.left.saturating_sub(1);
            job.job.working = job.left > 0;
            return;
        }
        if job.job.end.is_some() {
            return;
        }
        if job.job.image.as_deref() == Some(MISSING_IMAGE) {
            job.job.trouble = Some("ImagePullBackOff".to_owned());
            return;
        }
        // Without buckets that take writes, it goes on trying.
        job.left = if led { job.left.saturating_sub(1) } else { job.left };
        let (left, at) = (job.left, Timestamp::from_second(self.now).unwrap());
        if left == WORK / 2 + 1 {
            self.migration.fenced = true;
        }
        if left == WORK / 2 && self.migration.ends.is_empty() {
            self.mark(false);
        }
        if left > 0 {
            return;
        }
        let next = self.migration.ends.pop_front();
        if next.is_none() {
            self.mark(true);
        }
        let job = self.migration.jobs.get_mut(&number).unwrap();
        let words = match next {
            None => {
                JobWords { backup: Some("/source/backups/b.db".to_owned()), ..JobWords::default() }
            }
            Some((_, reason)) => JobWords {
                reason: Some(reason.to_owned()),
                message: Some("the file says no".to_owned()),
                backup: None,
            },
        };
        job.job.words = Some(words);
        job.job.working = false;
        let exit_code = Some(next.map_or(0, |(code, _)| code));
        job.job.end = Some(JobEnd { at, succeeded: next.is_none(), exit_code });
    }

    fn unfences_live(&mut self) {
        let at = Timestamp::from_second(self.now).unwrap();
        let moved = self.control.as_ref().and_then(|record| record.migration.as_ref());
        let moved = moved.is_some_and(|mark| mark.done);
        for job in self.migration.unfences.values_mut() {
            job.left = job.left.saturating_sub(1);
            if job.left > 0 || job.job.end.is_some() || job.job.deleting {
                continue;
            }
            let next = self.migration.unfence_ends.pop_front();
            let code = next.map_or(if moved { 6 } else { 0 }, |(code, _)| code);
            self.migration.fenced &= code != 0;
            job.job.working = false;
            job.job.end = Some(JobEnd { at, succeeded: code == 0, exit_code: Some(code) });
        }
    }

    fn mark(&mut self, done: bool) {
        let counts = MigrationCounts { users: 5, rooms: 1, members: 4, room_keys: 8 };
        let Some(record) = &mut self.control else { return };
        record.migration = Some(Mark { done, digest: "d1g3st".to_owned(), counts });
        self.note_born();
    }
}
