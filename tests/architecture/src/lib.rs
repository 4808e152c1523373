//! Tests of the structure of the workspace.
