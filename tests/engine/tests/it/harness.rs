//! Runs SQL on an embedded cluster and reads the rows as text.

use std::sync::Arc;
use std::time::Duration;

use flumen_cluster::extensions::{Extensions, MakeTransport};
use flumen_cluster::{EmbeddedCluster, Session, SessionError};
use flumen_core::waiting::BlockingExecutor;
use flumen_network::{HostileOptions, HostileTransport, PartitionRegistry, Transport};
pub(crate) use flumen_testkit::run;
use flumen_testkit::{configuration, text_rows};

/// A session with these settings.
pub(crate) fn session(settings: &[(&str, &str)]) -> Session {
    Session::open(configuration(settings)).unwrap()
}

/// A session whose exchanges go over the hostile transport, on the threads that wait.
pub(crate) fn hostile_session(settings: &[(&str, &str)], seed: u64, options: HostileOptions) -> Session {
    let configuration = configuration(settings);
    let extensions = |blocking: &Arc<dyn BlockingExecutor>| {
        let blocking = Arc::clone(blocking);
        let make: MakeTransport = Arc::new(move |registry: Arc<PartitionRegistry>| {
            let transport = HostileTransport::new(registry, seed, options);
            transport.run_on(Arc::clone(&blocking));
            Arc::new(transport) as Arc<dyn Transport>
        });
        Extensions { transport: Some(make), ..Extensions::default() }
    };
    let cluster = EmbeddedCluster::start_with(&configuration, extensions).unwrap();
    Session::on(cluster, configuration)
}

/// The rows of the last statement of `text`; NULL is an empty cell.
pub(crate) fn rows(session: &mut Session, text: &str) -> Result<Vec<Vec<String>>, SessionError> {
    run(session, text, text_rows)
}

/// What must hold after every job, however it ended.
pub(crate) fn assert_nothing_is_left(session: &Session) {
    // A job's last task reports its end before it is dropped.
    for _ in 0..1000 {
        if session.process().verify_empty().is_ok() {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    session.process().verify_empty().unwrap();
}
