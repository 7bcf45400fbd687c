//! The product as its users run it: the chart on a real Kubernetes of three nodes, and clusters that
//! come up, change, lose servers, nodes and their operator, and go. It takes root and what
//! `testbed prepare` brings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

mod bed;
mod callers;
mod change;
mod cold;
mod cordon;
mod cutover;
mod end;
mod faults;
mod figures;
mod history;
mod killed;
mod load;
mod migrate;
mod readers;
mod readme;
#[path = "../readme/commands.rs"]
mod readme_commands;
#[path = "../sample/data.rs"]
mod sample;
mod served;
mod source;
mod subject;
mod users;
