//! Tasks, chain driver, mailbox and executors.
