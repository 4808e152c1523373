use flumen_io::Rng;

use super::*;

fn at(seconds: f64) -> MonotonicTime {
    MonotonicTime::ZERO + Duration::from_secs_f64(seconds)
}

/// Feeds failures at these seconds and expects a delay in seconds, or `None` for giving up.
fn check(options: &RestartStrategyOptions, failures: &[(f64, Option<f64>)]) {
    let mut strategy = options.build(Box::new(Rng::from_seed(1)));
    for (index, (time, expected)) in failures.iter().enumerate() {
        let decision = match strategy.on_failure(at(*time)) {
            RestartDecision::After(delay) => Some(delay),
            RestartDecision::GiveUp { .. } => None,
        };
        assert_eq!(decision, expected.map(Duration::from_secs_f64), "{options:?}, failure {index}");
    }
}

#[test]
fn none_never_restarts() {
    check(&RestartStrategyOptions::None, &[(0.0, None), (1e6, None)]);
}

#[test]
fn fixed_delay_counts_over_the_life_of_the_job() {
    let default = RestartStrategyOptions::FixedDelay(FixedDelayOptions::default());
    check(&default, &[(0.0, Some(1.0)), (1e6, None)]);
    let three = FixedDelayOptions { attempts: 3, delay: Duration::from_secs(7) };
    check(
        &RestartStrategyOptions::FixedDelay(three),
        &[(0.0, Some(7.0)), (1.0, Some(7.0)), (2.0, Some(7.0)), (3.0, None)],
    );
}

#[test]
fn failure_rate_forgets_old_failures() {
    let default = RestartStrategyOptions::FailureRate(FailureRateOptions::default());
    check(&default, &[(0.0, Some(1.0)), (60.0, None)]);
    check(&default, &[(0.0, Some(1.0)), (60.1, Some(1.0)), (120.3, Some(1.0)), (121.0, None)]);
}

fn exponential(change: impl FnOnce(&mut ExponentialDelayOptions)) -> RestartStrategyOptions {
    let mut options = ExponentialDelayOptions { jitter_factor: 0.0, ..ExponentialDelayOptions::default() };
    change(&mut options);
    RestartStrategyOptions::ExponentialDelay(options)
}

#[test]
fn exponential_delay_grows_merges_and_resets() {
    check(
        &exponential(|_| {}),
        &[
            (0.0, Some(1.0)),
            // Before the restart planned for 1.0: the same attempt, what is left of its delay.
            (0.5, Some(0.5)),
            (1.0, Some(0.0)),
            (2.0, Some(1.5)),
            (10.0, Some(2.25)),
            // 3599.9 s after the restart planned for 12.25; then exactly 3600 s after the next.
            (3612.15, Some(3.375)),
            (3612.15 + 3.375 + 3600.0, Some(1.0)),
        ],
    );
    check(&exponential(|o| o.max = Duration::from_secs(2)), &[(0.0, Some(1.0)), (9.0, Some(1.5)), (19.0, Some(2.0))]);
    check(
        &exponential(|o| o.attempts_before_reset = Some(2)),
        &[(0.0, Some(1.0)), (5.0, Some(1.5)), (10.0, None), (20.0, None)],
    );
    let mut strategy = exponential(|_| {}).build(Box::new(Rng::from_seed(1)));
    for failure in 0..5_000 {
        let decision = strategy.on_failure(at(f64::from(failure) * 100.0));
        assert!(matches!(decision, RestartDecision::After(d) if d <= Duration::from_secs(60)), "{failure}");
    }
}

#[test]
fn jitter_stays_within_its_part_and_varies() {
    let mut delays = Vec::new();
    for seed in 0..200 {
        let options = exponential(|o| o.jitter_factor = 0.1);
        let mut strategy = options.build(Box::new(Rng::from_seed(seed)));
        let _ = strategy.on_failure(at(0.0));
        let RestartDecision::After(delay) = strategy.on_failure(at(10.0)) else { panic!("any number of attempts") };
        delays.push(delay.as_secs_f64());
    }
    assert!(delays.iter().all(|d| (1.35..=1.65).contains(d)));
    assert!(delays.iter().any(|d| *d < 1.4) && delays.iter().any(|d| *d > 1.6));
}

#[test]
fn the_default_depends_on_checkpoints() {
    assert_eq!(RestartStrategyOptions::default_for(false), RestartStrategyOptions::None);
    let RestartStrategyOptions::ExponentialDelay(options) = RestartStrategyOptions::default_for(true) else {
        panic!("checkpointed jobs restart")
    };
    assert_eq!(options, ExponentialDelayOptions::default());
}
