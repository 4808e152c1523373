//! JobMaster, scheduler, failover and checkpoint coordinator as state machines.
