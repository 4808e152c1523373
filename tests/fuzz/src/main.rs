//! Runs cases: `fuzz --format csv --minutes 15 --seed 1`, or one: `fuzz --format csv --seed 1 --case 4711`.
//!
//! Without a format all take turns, each for its share. A case that hangs is ended by a watch that names it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_io::{Clock as _, SystemClock};

use anyhow::{Context, Result, bail};
use flumen_fuzz_tests::{CASE_MAX, Format, case, read, run, samples};

/// A case that is ended, because it does not end.
const HANG: Duration = CASE_MAX.saturating_mul(4);

struct Arguments {
    formats: Vec<Format>,
    time: Duration,
    seed: u64,
    case: Option<u64>,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments { formats: Format::ALL.to_vec(), time: Duration::from_secs(60), seed: 1, case: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--format" => {
                let known = Format::ALL.into_iter().find(|format| format.name() == value);
                let names = Format::ALL.map(Format::name).join(", ");
                parsed.formats = vec![known.with_context(|| format!("there is no format {value}; there are {names}"))?];
            }
            "--minutes" => parsed.time = Duration::from_secs_f64(value.parse::<f64>()? * 60.0),
            "--seed" => parsed.seed = value.parse()?,
            "--case" => parsed.case = Some(value.parse()?),
            _ => bail!("there is no option {word}; there are --format, --minutes, --seed and --case"),
        }
    }
    Ok(parsed)
}

#[allow(clippy::print_stdout, reason = "it is a program for people")]
fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    if let Some(number) = arguments.case {
        for format in arguments.formats {
            let bytes = case(format, &samples::of(format), arguments.seed, number);
            println!("{} case {number}: {:?}", format.name(), read::read(format, &bytes).map_err(|e| e.chain()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Panics that a reader contains are its affair; those that it does not contain end the run.
    std::panic::set_hook(Box::new(|_| {}));
    let running = Arc::new(AtomicU64::new(0));
    watch(Arc::clone(&running), arguments.seed);
    let share = arguments.time / u32::try_from(arguments.formats.len().max(1))?;
    let mut status = ExitCode::SUCCESS;
    for format in arguments.formats {
        let began = SystemClock.now();
        let outcome = run(format, arguments.seed, 0, |tally| {
            running.store(tally.cases + 1, Ordering::Relaxed);
            SystemClock.now() - began < share
        });
        match outcome {
            Ok(tally) => println!(
                "{}: {} cases in {:.0} s, {} answers, the slowest {:.1?}, at most {} MiB above idle",
                format.name(),
                tally.cases,
                (SystemClock.now() - began).as_secs_f64(),
                tally.answers,
                tally.slowest,
                tally.memory >> 20
            ),
            Err(fault) => {
                println!("{fault}");
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

/// Ends the process if no case is finished for too long.
#[allow(clippy::print_stdout, reason = "it is a program for people")]
fn watch(running: Arc<AtomicU64>, seed: u64) {
    std::thread::spawn(move || {
        let mut last = (0, SystemClock.now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = running.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, SystemClock.now());
            } else if SystemClock.now() - last.1 > HANG {
                println!("case {} of seed {seed} does not end", now.saturating_sub(1));
                std::process::exit(1);
            }
        }
    });
}
