//! The direction of dependencies, as data: where each crate lives and its rank.
//!
//! A crate uses crates of lower rank only, but for the few edges within a rank that are listed. Crates that do not
//! exist yet have their line already, so that their place is not argued about when they come.

/// A crate of the workspace.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Lower ranks may be used by higher ones.
    pub rank: u8,
    /// The directory, from the root.
    pub directory: &'static str,
    /// The name of the package.
    pub package: &'static str,
}

const fn layer(rank: u8, directory: &'static str, package: &'static str) -> Layer {
    Layer { rank, directory, package }
}

/// Tests and benches: they may see all, and nothing sees them except other tests.
pub const TESTS: u8 = 10;

/// Every crate there may be.
pub const CRATES: &[Layer] = &[
    layer(0, "engine/io", "flumen-io"),
    layer(0, "engine/config", "flumen-config"),
    layer(0, "memory", "flumen-memory"),
    layer(1, "engine/core", "flumen-core"),
    layer(2, "engine/kernels", "flumen-kernels"),
    layer(2, "engine/gateway", "flumen-gateway"),
    layer(2, "formats/core", "flumen-formats"),
    layer(3, "formats/avro", "flumen-formats-avro"),
    layer(3, "formats/csv", "flumen-formats-csv"),
    layer(3, "formats/ipc", "flumen-formats-ipc"),
    layer(3, "formats/json", "flumen-formats-json"),
    layer(3, "formats/parquet", "flumen-formats-parquet"),
    layer(4, "engine/network", "flumen-network"),
    layer(4, "engine/state", "flumen-state"),
    layer(5, "engine/operators", "flumen-operators"),
    layer(5, "engine/state-rocksdb", "flumen-state-rocksdb"),
    layer(6, "engine/connectors", "flumen-connectors"),
    layer(6, "engine/control", "flumen-control"),
    layer(6, "engine/runtime", "flumen-runtime"),
    layer(7, "engine/datastream", "flumen-datastream"),
    layer(7, "engine/libraries/cep", "flumen-cep"),
    layer(7, "engine/libraries/graph-analytics", "flumen-graph-analytics"),
    layer(7, "engine/libraries/ml", "flumen-ml"),
    layer(7, "engine/sql", "flumen-sql"),
    layer(8, "flight/client", "flumen-flight-client"),
    layer(8, "flight/exchange", "flumen-flight-exchange"),
    layer(8, "flight/sql", "flumen-flight-sql"),
    layer(9, "tools/cluster", "flumen-cluster"),
    layer(9, "tools/flumen", "flumen"),
    layer(9, "tools/loadgen", "flumen-loadgen"),
    layer(9, "tools/webui", "flumen-webui"),
    layer(9, "tools/xtask", "flumen-xtask"),
    layer(TESTS, "benches/compare", "flumen-compare-benches"),
    layer(TESTS, "benches/exchange", "flumen-exchange-benches"),
    layer(TESTS, "benches/micro", "flumen-micro-benches"),
    layer(TESTS, "benches/nexmark", "flumen-nexmark-benches"),
    layer(TESTS, "benches/tpch", "flumen-tpch-benches"),
    layer(TESTS, "tests/architecture", "flumen-architecture-tests"),
    layer(TESTS, "tests/cluster", "flumen-cluster-tests"),
    layer(TESTS, "tests/compat", "flumen-compat-tests"),
    layer(TESTS, "tests/engine", "flumen-engine-tests"),
    layer(TESTS, "tests/fuzz", "flumen-fuzz-tests"),
    layer(TESTS, "tests/plans", "flumen-plan-tests"),
    layer(TESTS, "tests/simulation", "flumen-simulation-tests"),
    layer(TESTS, "tests/sql", "flumen-sql-tests"),
    layer(TESTS, "tests/testkit", "flumen-testkit"),
];

/// Edges within a rank: who uses whom.
pub const SAME_RANK_EDGES: &[(&str, &str)] = &[
    ("flumen-memory", "flumen-io"),
    ("flumen-memory", "flumen-config"),
    ("flumen-sql", "flumen-datastream"),
    ("flumen-cep", "flumen-datastream"),
    ("flumen-graph-analytics", "flumen-datastream"),
    ("flumen-ml", "flumen-datastream"),
    ("flumen", "flumen-cluster"),
    ("flumen", "flumen-webui"),
    ("flumen-cluster", "flumen-webui"),
];

/// The only names at the root, besides those that begin with a dot.
pub const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "engine",
    "flight",
    "formats",
    "memory",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "tools",
    "typos.toml",
];

/// What makes a build need more than Rust and a C compiler: CMake, libclang, protoc, other languages, system libraries.
pub const FORBIDDEN_BUILD_TOOLS: &[&str] = &[
    "autotools",
    "bindgen",
    "clang-sys",
    "cmake",
    "cpp_build",
    "meson",
    "nasm-rs",
    "openssl-sys",
    "prost-build",
    "protobuf-codegen",
    "protobuf-src",
    "protoc",
    "protoc-bin-vendored",
    "protoc-rust",
    "tonic-build",
    "vcpkg",
];

/// The layer of a package.
pub fn layer_of(package: &str) -> Option<&'static Layer> {
    CRATES.iter().find(|layer| layer.package == package)
}
