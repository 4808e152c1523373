use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::byte_size::ByteSize;
use crate::option::AnyOption;

const BATCH_SIZE: ConfigOption<usize> =
    ConfigOption::new("execution.batch-size", "8192", "Rows in a full batch.").between("1", "65536");
const BUFFER_TIMEOUT: ConfigOption<Duration> =
    ConfigOption::new("execution.buffer-timeout", "100 ms", "How long rows wait for a full batch.");
const PROCESS_SIZE: ConfigOption<Option<ByteSize>> =
    ConfigOption::new("taskmanager.memory.process.size", "", "Memory of the whole process.");
const FRACTION: ConfigOption<f64> =
    ConfigOption::new("taskmanager.memory.managed.fraction", "0.4", "Share of managed memory.").between("0", "1");
const SPILL_DIRS: ConfigOption<Vec<PathBuf>> = ConfigOption::new("io.tmp.dirs", "/tmp", "Where spill files go.");
const PASSWORD: ConfigOption<String> = ConfigOption::new("store.password", "", "What opens the store.");
const RATIO: ConfigOption<u32> = ConfigOption::new("store.retries", "3", "Attempts after the first.").at_most("10");
const OPTIONS: &[&dyn AnyOption] =
    &[&BATCH_SIZE, &BUFFER_TIMEOUT, &PROCESS_SIZE, &FRACTION, &SPILL_DIRS, &PASSWORD, &RATIO];

fn empty() -> Configuration {
    Configuration::new(OptionRegistry::collect(&[OPTIONS]).unwrap().into())
}

fn sample(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (PathBuf::from(name), text)
}

#[test]
fn the_right_sample_file_is_read() {
    let (path, text) = sample("right.toml");
    let mut configuration = empty();
    configuration.apply_toml(&text, &path).unwrap();
    assert_eq!(configuration.get(&BATCH_SIZE), 1024);
    assert_eq!(configuration.get(&BUFFER_TIMEOUT), Duration::from_millis(250));
    assert_eq!(configuration.get(&PROCESS_SIZE), Some(ByteSize::from_mib(2048)));
    assert!((configuration.get(&FRACTION) - 0.5).abs() < 1e-12);
    assert_eq!(configuration.get(&SPILL_DIRS), [PathBuf::from("/fast/a"), PathBuf::from("/fast/b")]);
    assert_eq!(configuration.get(&RATIO), 10);
    assert_eq!(configuration.origin("execution.batch-size"), Some(&Origin::File { path, line: 3 }));
    assert_eq!(configuration.origin("store.password"), Some(&Origin::Default));
    assert_eq!(configuration.origin("no.such.key"), None);
}

/// Each wrong sample file says in its first line what the error must be.
#[test]
fn the_wrong_sample_files_are_refused_and_change_nothing() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("wrong") {
            continue;
        }
        let (path, text) = sample(&name);
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let mut configuration = empty();
        let error = configuration.apply_toml(&text, &path).unwrap_err();
        // The words after the colon of a syntax error are those of the TOML parser.
        let shown = error.to_string();
        match expected.strip_suffix("...") {
            Some(start) => assert!(shown.starts_with(start) && shown.len() > start.len(), "{name}: {shown}"),
            None => assert_eq!(shown, expected, "{name}"),
        }
        assert_eq!(configuration.overrides().count(), 0);
        count += 1;
    }
    assert!(count >= 9, "{count} wrong samples were found");
}

#[test]
fn higher_origins_win_whatever_the_order() {
    let steps: [fn(&mut Configuration) -> Result<()>; 5] = [
        |c| c.apply_toml("execution.batch-size = 1", Path::new("f")),
        |c| c.apply_environment([("FLUMEN_EXECUTION__BATCH_SIZE".to_owned(), "2".to_owned())], &[]),
        |c| c.apply_flags(["execution.batch-size=3"]),
        |c| c.set("execution.batch-size", "4", Origin::Program),
        |c| c.set("execution.batch-size", "5", Origin::Statement),
    ];
    for applied in 0..=steps.len() {
        let (mut forwards, mut backwards) = (empty(), empty());
        steps[..applied].iter().try_for_each(|step| step(&mut forwards)).unwrap();
        steps[..applied].iter().rev().try_for_each(|step| step(&mut backwards)).unwrap();
        let expected = if applied == 0 { 8192 } else { applied };
        assert_eq!((forwards.get(&BATCH_SIZE), backwards.get(&BATCH_SIZE)), (expected, expected));
    }
    let mut configuration = empty();
    configuration.apply_toml("execution.batch-size = 1", Path::new("system")).unwrap();
    configuration.apply_toml("execution.batch-size = 2", Path::new("user")).unwrap();
    assert_eq!(configuration.get(&BATCH_SIZE), 2);
}

#[test]
fn environment_names_map_to_keys() {
    let variables = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    let mut configuration = empty();
    configuration
        .apply_environment(
            variables(&[
                ("PATH", "/bin"),
                ("FLUMEN_LOG", "debug"),
                ("FLUMEN_TASKMANAGER__MEMORY__PROCESS__SIZE", "8GiB"),
                ("FLUMEN_EXECUTION__BUFFER_TIMEOUT", "1 min"),
            ]),
            &["FLUMEN_LOG"],
        )
        .unwrap();
    assert_eq!(configuration.get(&PROCESS_SIZE), Some(ByteSize::from_mib(8192)));
    assert_eq!(configuration.get(&BUFFER_TIMEOUT), Duration::from_secs(60));
    let error = configuration.apply_environment(variables(&[("FLUMEN_EXECUTION__BATCHSIZE", "1")]), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown option 'execution.batchsize' in environment variable FLUMEN_EXECUTION__BATCHSIZE; \
         did you mean 'execution.batch-size'?"
    );
}

#[test]
fn flags_are_keys_and_values() {
    let mut configuration = empty();
    configuration.apply_flags(["store.password=a=b", " execution.batch-size = 7 "]).unwrap();
    assert_eq!((configuration.get(&PASSWORD).as_str(), configuration.get(&BATCH_SIZE)), ("a=b", 7));
    let check = |flag: &str, expected: &str| {
        let mut configuration = configuration.clone();
        assert_eq!(configuration.apply_flags(["store.retries=1", flag]).unwrap_err().to_string(), expected);
        assert_eq!(configuration.get(&RATIO), 3, "nothing changes on an error");
    };
    check(
        "execution.batch-size",
        "'execution.batch-size' is not of the form key=value, such as execution.batch-size=1024",
    );
    check("=1", "'=1' is not of the form key=value, such as execution.batch-size=1024");
    check(
        "execution.batch-size=0",
        "invalid value '0' for option 'execution.batch-size' in a flag (--set): \
         expected a whole number that is not negative, from 1 to 65536",
    );
    check(
        "exection.batch-size=1",
        "unknown option 'exection.batch-size' in a flag (--set); did you mean 'execution.batch-size'?",
    );
}

#[test]
fn reset_goes_back_to_what_was_before() {
    let mut start = empty();
    start.apply_flags(["execution.batch-size=7"]).unwrap();
    let mut session = start.clone();
    session.set("execution.batch-size", "8", Origin::Statement).unwrap();
    session.set("store.retries", "8", Origin::Statement).unwrap();
    session.reset("execution.batch-size", &start).unwrap();
    session.reset("store.retries", &start).unwrap();
    assert_eq!((session.get(&BATCH_SIZE), session.get(&RATIO)), (7, 3));
    assert!(!session.is_set(&RATIO));
    assert!(matches!(session.reset("nothing", &start), Err(ConfigError::UnknownKey { .. })));
}

#[test]
fn secrets_are_never_shown() {
    let mut configuration = empty();
    configuration.apply_flags(["store.password=canary"]).unwrap();
    let shown = format!("{:?}", configuration.effective());
    assert!(shown.contains("******") && !shown.contains("canary"), "{shown}");
    assert_eq!(configuration.get(&PASSWORD), "canary");
    assert_eq!(configuration.overrides().collect::<Vec<_>>(), [("store.password", "canary")]);
    let debugged = format!("{configuration:?}");
    assert!(!debugged.contains("canary"), "{debugged}");

    const PIN: ConfigOption<u32> = ConfigOption::new("store.pin", "0", "Digits.").secret();
    let mut configuration = Configuration::new(OptionRegistry::collect(&[&[&PIN]]).unwrap().into());
    let error = configuration.apply_flags(["store.pin=canary"]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn every_option_is_listed_with_its_origin() {
    let mut configuration = empty();
    configuration.apply_flags(["store.retries=2"]).unwrap();
    let listed = configuration.effective();
    assert_eq!(listed.len(), OPTIONS.len());
    let of = |key: &str| listed.iter().find(|value| value.key == key).cloned().unwrap();
    assert_eq!((of("store.retries").text.as_str(), of("store.retries").origin), ("2", Origin::Flag));
    assert_eq!((of("io.tmp.dirs").text.as_str(), of("io.tmp.dirs").origin), ("/tmp", Origin::Default));
    assert_eq!(of("store.password").text, "", "an empty secret shows that it is not set");
}
