//! Random histories of one gate: credits are never negative, never lost, and never free while wanted.

use flumen_io::{RandomSource, Rng};

use super::CreditConfig;
use super::receive::{Overspent, ReceiveCredits};
use super::send::SendCredits;

fn config(exclusive: u32, floating: u32) -> CreditConfig {
    CreditConfig {
        exclusive_per_channel: exclusive,
        floating_per_gate: floating,
        floating_per_channel_max: 3,
        ..CreditConfig::default()
    }
}

/// A producer, what is on the wire, and what the consumer has not consumed, for each channel.
#[derive(Default, Clone)]
struct Channel {
    credits: SendCredits,
    backlog: Vec<u32>,
    wire: Vec<(u32, u32)>,
    held: Vec<u32>,
    sent: usize,
}

#[test]
fn random_histories_keep_the_invariants_and_end() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let (exclusive, floating) = (1 + rng.below(4) as u32, rng.below(9) as u32);
        let count = 1 + rng.below(4) as usize;
        let mut receive = ReceiveCredits::new(config(exclusive, floating), count);
        let mut channels = vec![Channel::default(); count];
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.credits = SendCredits::new(receive.open(index as u32));
            channel.backlog = (0..rng.below(40)).map(|_| 1 + rng.below(u64::from(exclusive)) as u32).collect();
        }
        let total: usize = channels.iter().map(|c| c.backlog.len()).sum();
        let mut idle = 0;
        while idle < 1000 {
            idle += 1;
            let index = rng.below(count as u64) as usize;
            let grants = match rng.below(3) {
                0 => {
                    let channel = &mut channels[index];
                    if let Some(cost) = channel.backlog.first().copied()
                        && channel.credits.try_spend(cost)
                    {
                        channel.backlog.remove(0);
                        channel.wire.push((cost, channel.backlog.iter().sum()));
                        channel.sent += 1;
                        idle = 0;
                    }
                    Vec::new()
                }
                1 if !channels[index].wire.is_empty() => {
                    let (cost, backlog) = channels[index].wire.remove(0);
                    channels[index].held.push(cost);
                    idle = 0;
                    receive.on_data(index as u32, cost, backlog).unwrap()
                }
                2 if !channels[index].held.is_empty() => {
                    let cost = channels[index].held.remove(0);
                    idle = 0;
                    receive.on_consumed(index as u32, cost)
                }
                _ => Vec::new(),
            };
            receive.assert_invariants();
            grants.iter().for_each(|g| channels[g.channel as usize].credits.on_grant(g.credits));
        }
        let sent: usize = channels.iter().map(|c| c.sent).sum();
        assert_eq!(sent, total, "seed {seed}: a producer waits for credit that never comes");
        for (index, channel) in channels.iter().enumerate() {
            assert!(channel.credits.available() >= exclusive, "seed {seed}: channel {index} lost credits");
        }
    }
}

#[test]
fn a_backlog_is_given_floating_credits_which_come_back() {
    let mut receive = ReceiveCredits::new(config(2, 4), 2);
    assert_eq!((receive.open(0), receive.open(1)), (2, 2));
    let credits =
        |grants: Vec<super::receive::Grant>| grants.iter().map(|g| (g.channel, g.credits)).collect::<Vec<_>>();
    // At most three for one channel, the last one for the other, which then waits.
    assert_eq!(credits(receive.on_data(0, 1, 10).unwrap()), [(0, 3)]);
    assert_eq!(credits(receive.on_data(1, 2, 3).unwrap()), [(1, 1)]);
    // The first channel's backlog has gone: what it gives back goes to the second.
    assert_eq!(credits(receive.on_data(0, 4, 0).unwrap()), []);
    assert_eq!(credits(receive.on_consumed(0, 2)), [(1, 2)]);
    receive.assert_invariants();
    assert_eq!(credits(receive.on_consumed(0, 3)), [(0, 2)]);
    assert_eq!(receive.usage(0), (0, 2));
    // Closing gives back what was the gate's.
    assert_eq!(credits(receive.close(1)), []);
    assert_eq!(credits(receive.on_backlog(0, 10)), [(0, 3)]);
    receive.assert_invariants();
}

#[test]
fn spending_more_than_was_given_is_noticed() {
    let mut receive = ReceiveCredits::new(config(2, 0), 1);
    receive.open(0);
    receive.on_data(0, 2, 0).unwrap();
    assert_eq!(receive.on_data(0, 1, 0), Err(Overspent { cost: 1, granted: 0 }));
    receive.close(0);
    assert_eq!(receive.on_data(0, 1, 0), Ok(vec![]), "data on the way to a closed channel");
}

#[test]
fn a_frame_costs_its_segments_and_at_most_the_exclusive_share() {
    let config = CreditConfig::default();
    for (bytes, cost) in [(0, 1), (1, 1), (65_536, 1), (65_537, 2), (262_144, 4), (10_000_000, 4)] {
        assert_eq!(config.cost(bytes), cost, "{bytes}");
    }
    assert_eq!(config.frame_bytes_max(), 262_144);
}
