//! Figures of the operator, and of NACK beside it. Printed, never asserted: machines differ. What
//! the operator writes when nothing changes is asserted: nothing.

mod nack;
mod operator;
mod watched;

use testbed::bench::Spread;

/// A line of the table that is printed.
type Row = (String, String);

fn print(table: Vec<Row>) {
    for (what, figure) in table {
        println!("| {what} | {figure} |");
    }
}

/// Seconds of several rounds, as one figure.
fn spread(seconds: &[f64]) -> String {
    let Spread { least, median, greatest } = Spread::of(seconds).unwrap();
    format!("{median:.1} s ({least:.1} to {greatest:.1})")
}
