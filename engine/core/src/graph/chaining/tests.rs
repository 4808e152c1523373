use std::sync::Arc;

use super::*;
use crate::spec::OperatorSpec;
use crate::spec::connector::SourceSpec;
use crate::spec::relational::{HashJoinSpec, JoinKind};
use crate::types::{Field, LogicalType, Schema};

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("k", LogicalType::Int64, true)]))
}

fn spec(kind: &str, inputs: usize, output: bool) -> OperatorSpec {
    OperatorSpec {
        kind: kind.to_owned(),
        version: 1,
        payload: serde_json::Value::Null,
        inputs: vec![schema(); inputs],
        output: output.then(schema),
        state: Vec::new(),
        memory_weight_bytes: 0,
    }
}

/// A graph from lines `name kind:inputs parallelism` and edges `from to input partitioner [exchange]`.
fn graph(nodes: &[(&str, &str, usize, u32)], edges: &[(&str, &str, u32, Partitioner, ExchangeMode)]) -> StreamGraph {
    let mut graph = StreamGraph { name: "test".to_owned(), ..StreamGraph::default() };
    for (name, kind, inputs, parallelism) in nodes {
        graph.add_node(*name, *name, spec(kind, *inputs, *kind != "sink"), *parallelism);
    }
    for (from, to, input, partitioner, exchange) in edges {
        let find = |name: &str| graph.nodes.iter().find(|n| n.name == name).unwrap().id;
        let (from, to) = (find(from), find(to));
        graph.add_edge(from, to, *input, partitioner.clone()).exchange = *exchange;
    }
    graph
}

use ExchangeMode::{Blocking, Default as Def, HybridFull, HybridSelective, Pipelined};
use Partitioner::{Forward, Rebalance};

fn hash() -> Partitioner {
    Partitioner::Hash { columns: vec![0] }
}

/// Vertices as `names`, exchanges as `producer>consumer:type`, sorted as the job graph has them.
fn show(job: &JobGraph) -> (Vec<String>, Vec<String>) {
    let names = job.vertices.iter().map(|v| v.name.clone()).collect();
    let mut exchanges = Vec::new();
    for vertex in &job.vertices {
        for data_set in &vertex.produced {
            let consumer = job.vertex(data_set.consumer);
            let edge = consumer.inputs.iter().find(|e| e.data_set == data_set.id).unwrap();
            assert_eq!(edge.producer, vertex.id);
            let (from, to) = (&vertex.operators[0].name, &consumer.operators[0].name);
            exchanges.push(format!("{from}>{to}.{}:{:?}", edge.head_input, data_set.partition_type));
        }
    }
    (names, exchanges)
}

fn check_with(graph: &StreamGraph, options: &TranslateOptions, vertices: &[&str], exchanges: &[&str]) {
    let job = translate(graph, JobId(1), options).unwrap();
    assert_eq!(show(&job), (owned(vertices), owned(exchanges)));
    assert_eq!(JobGraph::from_json(&job.to_json().unwrap()).unwrap(), job);
}

fn check(graph: &StreamGraph, vertices: &[&str], exchanges: &[&str]) {
    check_with(graph, &TranslateOptions::default(), vertices, exchanges);
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn pipeline(middle: impl FnOnce(&mut StreamGraph)) -> StreamGraph {
    let mut g = graph(
        &[("a", "source", 0, 2), ("b", "map", 1, 2), ("c", "sink", 1, 2)],
        &[("a", "b", 0, Forward, Def), ("b", "c", 0, Forward, Def)],
    );
    middle(&mut g);
    g
}

#[test]
fn each_condition_alone_prevents_chaining() {
    check(&pipeline(|_| {}), &["a -> b -> c"], &[]);
    check(&pipeline(|g| g.edges[0].exchange = Pipelined), &["a -> b -> c"], &[]);
    let cut = ["a", "b -> c"];
    let cases: [fn(&mut StreamGraph); 5] = [
        |g| g.edges[0].partitioner = Partitioner::Rescale,
        |g| g.nodes[0].max_parallelism = Some(64),
        |g| g.nodes[0].slot_sharing_group = "other".to_owned(),
        |g| g.nodes[0].chaining = ChainingStrategy::Never,
        |g| g.nodes[1].chaining = ChainingStrategy::Head,
    ];
    for case in cases {
        check(&pipeline(case), &cut, &["a>b.0:PipelinedBounded"]);
    }
    check(&pipeline(|g| g.nodes[0].chaining = ChainingStrategy::Head), &["a -> b -> c"], &[]);
    let alone = ["a>b.0:PipelinedBounded", "b>c.0:PipelinedBounded"];
    check(&pipeline(|g| g.nodes[1].chaining = ChainingStrategy::Never), &["a", "b", "c"], &alone);
    let off = TranslateOptions { chaining: false, ..TranslateOptions::default() };
    check_with(&pipeline(|_| {}), &off, &["a", "b", "c"], &alone);
    for (mode, kind) in [(Blocking, "Blocking"), (HybridFull, "HybridFull"), (HybridSelective, "HybridSelective")] {
        check(&pipeline(|g| g.edges[0].exchange = mode), &cut, &[&format!("a>b.0:{kind}")]);
        // The default says how an exchange is kept, not that there must be one.
        let options = TranslateOptions { default_exchange: mode, ..TranslateOptions::default() };
        check_with(&pipeline(|_| {}), &options, &["a -> b -> c"], &[]);
        check_with(&pipeline(|g| g.edges[0].partitioner = Rebalance), &options, &cut, &[&format!("a>b.0:{kind}")]);
    }
}

#[test]
fn unequal_parallelism_is_an_exchange() {
    let g = pipeline(|g| {
        g.nodes[0].parallelism = 5;
        g.edges[0].partitioner = Partitioner::Rescale;
    });
    let job = translate(&g, JobId(1), &TranslateOptions::default()).unwrap();
    assert_eq!(job.vertices[0].produced[0].distribution, DistributionPattern::Pointwise);
    assert_eq!((job.vertices[0].parallelism, job.vertices[1].parallelism), (5, 2));
    let g = pipeline(|g| g.edges[0].partitioner = hash());
    let job = translate(&g, JobId(1), &TranslateOptions::default()).unwrap();
    assert_eq!(job.vertices[0].produced[0].distribution, DistributionPattern::AllToAll);
    assert_eq!(job.vertices[0].max_parallelism, 128);
}

#[test]
fn a_chain_may_be_a_tree() {
    let g = graph(
        &[
            ("a", "source", 0, 2),
            ("b", "map", 1, 2),
            ("c", "map", 1, 2),
            ("d", "sink", 1, 2),
            ("e", "sink", 1, 3),
            ("f", "sink", 1, 2),
        ],
        &[
            ("a", "b", 0, Forward, Def),
            ("a", "c", 0, Forward, Def),
            ("c", "d", 0, Forward, Def),
            ("b", "e", 0, hash(), Def),
            ("b", "f", 0, Forward, Def),
        ],
    );
    check(&g, &["a -> b -> c -> d -> f", "e"], &["a>e.0:PipelinedBounded"]);
    let job = translate(&g, JobId(1), &TranslateOptions::default()).unwrap();
    let consumers: Vec<_> = job.vertices[0].operators.iter().map(|o| o.chained_consumers.clone()).collect();
    assert_eq!(consumers, [vec![1, 2], vec![4], vec![3], vec![], vec![]]);
    let produced: Vec<_> = job.vertices[0].operators.iter().map(|o| o.produced.clone()).collect();
    assert_eq!(produced, [vec![], vec![0], vec![], vec![], vec![]]);
}

#[test]
fn a_union_is_several_edges_into_one_input() {
    let g = graph(
        &[("a", "source", 0, 2), ("b", "source", 0, 2), ("c", "sink", 1, 2)],
        &[("b", "c", 0, Forward, Def), ("a", "c", 0, Forward, Def)],
    );
    check(&g, &["a", "b", "c"], &["a>c.0:PipelinedBounded", "b>c.0:PipelinedBounded"]);
}

#[test]
fn nodes_may_come_in_any_order() {
    let g = graph(
        &[("c", "sink", 1, 1), ("b", "map", 1, 2), ("a", "source", 0, 2)],
        &[("b", "c", 0, Rebalance, Def), ("a", "b", 0, Forward, Def)],
    );
    check(&g, &["a -> b", "c"], &["a>c.0:PipelinedBounded"]);
}

#[test]
fn malformed_graphs_are_refused() {
    let failure = |change: fn(&mut StreamGraph)| {
        translate(&pipeline(change), JobId(1), &TranslateOptions::default()).unwrap_err().to_string()
    };
    type Change = fn(&mut StreamGraph);
    let cases: [(Change, &str); 14] = [
        (|g| *g = StreamGraph::default(), "no operators"),
        (|g| g.nodes[1].id = StreamNodeId(7), "position 1 has id node-7"),
        (|g| g.nodes[1].uid = "a".into(), "operators \"a\" and \"b\" have the same uid"),
        (|g| g.nodes[1].parallelism = 0, "parallelism 0"),
        (|g| g.nodes[1].max_parallelism = Some(1), "maximum parallelism 1"),
        (|g| g.nodes[1].max_parallelism = Some(40000), "must not exceed 32768"),
        (|g| g.edges[0].target = StreamNodeId(9), "edge 0 refers to node-9"),
        (|g| g.nodes[0].spec.output = None, "\"a\" has no output"),
        (|g| g.edges[0].target_input = 1, "\"b\" has 1 inputs, but an edge from \"a\" feeds input 1"),
        (|g| g.nodes[1].spec.inputs.push(schema()), "input 1 (counted from 0) of operator \"b\" is not connected"),
        (
            |g| {
                let text = Schema::new(vec![Field::new("k", LogicalType::Utf8, true)]);
                g.nodes[1].spec.inputs[0] = Arc::new(text);
            },
            "\"b\" expects (",
        ),
        (|g| g.edges[0].partitioner = Partitioner::Hash { columns: vec![0, 1] }, "uses column 1, but rows have 1"),
        (|g| g.nodes[1].parallelism = 3, "use rescale"),
        (
            |g| {
                g.nodes[0].spec.inputs.push(schema());
                g.edges.push(StreamEdge { source: StreamNodeId(1), target: StreamNodeId(0), ..g.edges[0].clone() });
            },
            "in a cycle",
        ),
    ];
    for (change, expected) in cases {
        let message = failure(change);
        assert!(message.contains(expected), "expected {expected:?}, got {message:?}");
    }
}

fn join_graph(edges: &[(&str, &str, u32, Partitioner, ExchangeMode)]) -> StreamGraph {
    graph(
        &[
            ("s", "source", 0, 2),
            ("t", "source", 0, 2),
            ("j", HASH_JOIN, 2, 2),
            ("k", HASH_JOIN, 2, 2),
            ("z", "sink", 1, 1),
        ],
        edges,
    )
}

const HASH_JOIN: &str = "hash-join";

#[test]
fn a_diamond_over_a_join_is_kept_on_the_probe_side() {
    let diamond = |probe| {
        graph(
            &[("s", "source", 0, 2), ("m", "map", 1, 2), ("j", HASH_JOIN, 2, 2), ("z", "sink", 1, 1)],
            &[
                ("s", "m", 0, Rebalance, Def),
                ("m", "j", 0, hash(), Def),
                ("s", "j", 1, hash(), probe),
                ("j", "z", 0, Partitioner::Global, Def),
            ],
        )
    };
    let rest = ["s>m.0:PipelinedBounded", "m>j.0:PipelinedBounded", "j>z.0:PipelinedBounded"];
    let expect = |kind| vec![rest[0].to_owned(), format!("s>j.1:{kind}"), rest[1].to_owned(), rest[2].to_owned()];
    for (probe, kind) in [
        (Def, "HybridFull"),
        (Pipelined, "HybridFull"),
        (HybridSelective, "HybridSelective"),
        // Join and source run at the same time, so a blocking exchange between them could not be waited for.
        (Blocking, "HybridFull"),
    ] {
        let job = translate(&diamond(probe), JobId(1), &TranslateOptions::default()).unwrap();
        assert_eq!(show(&job).1, expect(kind), "{probe:?}");
    }
    // With every exchange blocking there is nothing to break.
    let options = TranslateOptions { default_exchange: Blocking, ..TranslateOptions::default() };
    let job = translate(&diamond(Def), JobId(1), &options).unwrap();
    assert!(show(&job).1.iter().all(|e| e.ends_with(":Blocking")));
}

#[test]
fn only_rings_are_cut() {
    let z = ("k", "z", 0, Partitioner::Global, Def);
    // Two joins over separate sources, one after the other: the usual plan.
    let g = join_graph(&[
        ("s", "j", 0, hash(), Def),
        ("t", "j", 1, hash(), Def),
        ("j", "k", 1, hash(), Def),
        ("s", "k", 0, hash(), Def),
        z.clone(),
    ]);
    // s builds both: while it is read nothing is probed, so nothing is full.
    assert!(
        show(&translate(&g, JobId(1), &TranslateOptions::default()).unwrap()).1.iter().all(|e| e.ends_with("Bounded"))
    );
    // The second join builds from what the first produces, and the first's build also probes the second.
    let g = join_graph(&[
        ("s", "j", 0, hash(), Def),
        ("t", "j", 1, hash(), Def),
        ("j", "k", 0, hash(), Def),
        ("s", "k", 1, hash(), Def),
        z,
    ]);
    let (_, exchanges) = show(&translate(&g, JobId(1), &TranslateOptions::default()).unwrap());
    assert_eq!(
        exchanges,
        [
            "s>j.0:PipelinedBounded",
            "s>k.1:HybridFull",
            "t>j.1:PipelinedBounded",
            "j>k.0:PipelinedBounded",
            "k>z.0:PipelinedBounded"
        ]
    );
}

#[test]
fn a_ring_through_two_joins_is_cut_once() {
    let mut g = join_graph(&[
        ("s", "j", 0, hash(), Def),
        ("t", "j", 1, hash(), Def),
        ("t", "k", 0, hash(), Def),
        ("s", "k", 1, hash(), Def),
        ("j", "z", 0, Partitioner::Global, Def),
        ("k", "z", 0, Partitioner::Global, Def),
    ]);
    let kept = |g: &StreamGraph| {
        let (_, exchanges) = show(&translate(g, JobId(1), &TranslateOptions::default()).unwrap());
        exchanges.into_iter().filter(|e| !e.ends_with("Bounded")).collect::<Vec<_>>()
    };
    assert_eq!(kept(&g), ["t>j.1:HybridFull"]);
    // A union reads whatever is there: the same shape without order has no ring.
    for node in &mut g.nodes {
        if node.spec.kind == HASH_JOIN {
            node.spec.kind = "union".to_owned();
        }
    }
    assert!(kept(&g).is_empty());
}

#[test]
fn regions_that_need_each_other_do_not_block() {
    // {a, b} and {c, d} are pipelined; a blocks d, c blocks b: neither region could start.
    let g = graph(
        &[("a", "source", 0, 1), ("b", "map", 2, 2), ("c", "source", 0, 1), ("d", "map", 2, 2)],
        &[
            ("a", "b", 0, Rebalance, Def),
            ("c", "d", 0, Rebalance, Def),
            ("a", "d", 1, Rebalance, Blocking),
            ("c", "b", 1, Rebalance, Blocking),
        ],
    );
    let (_, exchanges) = show(&translate(&g, JobId(1), &TranslateOptions::default()).unwrap());
    assert_eq!(exchanges.iter().filter(|e| e.ends_with(":HybridFull")).count(), 2, "{exchanges:?}");
}

/// A source that awaits filter 0.
fn awaiting_source() -> OperatorSpec {
    let source = SourceSpec {
        connector: "any".to_owned(),
        options: std::collections::BTreeMap::new(),
        projection: vec![0],
        table_schema: schema(),
        filters: Vec::new(),
        limit: None,
        runtime_filters: vec![(0, 0)],
        awaits_filters: true,
    };
    OperatorSpec::new(&source, Vec::new(), Some(schema()))
}

/// A join that publishes filter 0.
fn publishing_join() -> OperatorSpec {
    let join = HashJoinSpec {
        kind: JoinKind::Inner,
        build_keys: vec![0],
        probe_keys: vec![0],
        filter: None,
        projection: Some(vec![0]),
        null_equals_null: false,
        build_unique: false,
        runtime_filters: vec![(0, 0)],
        null_aware: false,
        build_count: None,
    };
    OperatorSpec::new(&join, vec![schema(); 2], Some(schema()))
}

#[test]
fn scans_wait_only_for_filters_that_are_sure_to_come() {
    // Source `t` listens to join `j`.
    let awaits = |mut graph: StreamGraph, options: &TranslateOptions| {
        for node in &mut graph.nodes {
            match node.name.as_str() {
                "t" => node.spec = awaiting_source(),
                "j" => node.spec = publishing_join(),
                _ => {}
            }
        }
        let job = translate(&graph, JobId(1), options).unwrap();
        let mut operators = job.vertices.iter().flat_map(|v| &v.operators);
        let source = operators.find(|o| o.name == "t").unwrap();
        source.spec.payload::<SourceSpec>().unwrap().awaits_filters
    };
    let pipelined = TranslateOptions::default();
    let tree = |exchange| {
        graph(
            &[("s", "source", 0, 2), ("t", "source", 0, 2), ("j", HASH_JOIN, 2, 2), ("z", "sink", 1, 1)],
            &[
                ("s", "j", 0, Partitioner::Broadcast, Def),
                ("t", "j", 1, Forward, exchange),
                ("j", "z", 0, Partitioner::Global, Def),
            ],
        )
    };
    assert!(awaits(tree(Def), &pipelined));
    assert!(awaits(tree(HybridFull), &pipelined));
    assert!(!awaits(tree(Blocking), &pipelined));
    let blocking = TranslateOptions { default_exchange: Blocking, ..TranslateOptions::default() };
    assert!(!awaits(tree(Def), &blocking));
    // The build side of j also probes k, which builds from the scan that waits for j: s is held up by k.
    let ring = |into_k| {
        join_graph(&[
            ("s", "j", 0, hash(), Def),
            ("t", "k", 0, hash(), Def),
            ("s", "k", 1, hash(), into_k),
            ("k", "j", 1, hash(), Def),
            ("j", "z", 0, Partitioner::Global, Def),
        ])
    };
    // What k does not take is kept for it, also if nobody asked for that: the ring is cut there whoever waits.
    assert!(awaits(ring(Def), &pipelined));
    assert!(awaits(ring(HybridFull), &pipelined));
    // The other way round: k builds from s, so that it takes everything.
    let harmless = join_graph(&[
        ("s", "j", 0, hash(), Def),
        ("s", "k", 0, hash(), Def),
        ("t", "k", 1, hash(), Def),
        ("k", "j", 1, hash(), Def),
        ("j", "z", 0, Partitioner::Global, Def),
    ]);
    assert!(awaits(harmless, &pipelined));
}
