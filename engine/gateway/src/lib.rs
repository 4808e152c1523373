//! Messages between JobMaster, TaskExecutor and their clients.
