#!/usr/bin/env bash
# Takes every figure of RESULTS.md and writes its tables anew: about five minutes on a quiet 2-core machine, after the
# build.
#
#   benches/run.sh [--data DIR] [--python PYTHON] [--rounds N]
#
# The options are those of benches/compare/compare.py: TPC-H tables (NAME.parquet, scale factor 1) and a Python that has
# the engines to compare with. Without them both are made under benches/compare/.work.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export CRITERION_HOME=$CARGO_TARGET_DIR/figures/criterion
figures=$CARGO_TARGET_DIR/figures
subjects=(floors segments hash grouping keyed_update join_probe scatter selection parquet_decode sort window_functions snapshot execution_graph session)

rm -rf "$figures"
mkdir -p "$figures"
# One call for the binary and the benches, so that they agree on features; the profile is that of the tests.
cargo build --workspace --locked --bin flumen "${subjects[@]/#/--bench=}" \
  --message-format=json-render-diagnostics > "$figures/build.jsonl"
executable() { # name
  python3 - "$1" "$figures/build.jsonl" <<'PY'
import json, sys
for line in open(sys.argv[2]):
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1]:
        print(message["executable"])
PY
}
flumen=$(executable flumen)

echo "load average before the run: $(cut -d' ' -f1 /proc/loadavg)"
cut -d' ' -f1 /proc/loadavg > "$figures/load"
started=$SECONDS
for subject in "${subjects[@]}"; do
  "$(executable "$subject")" --bench --noplot
done
python3 benches/compare/startup.py --flumen "$flumen" > "$figures/startup.md"
# Answers that differ end the run; a goal that is missed does not.
python3 benches/compare/compare.py --flumen "$flumen" "$@" | tee "$figures/compare.md"
python3 benches/tables.py --criterion "$CRITERION_HOME" --figures "$figures" benches/RESULTS.md
echo "benches/RESULTS.md is new; the measurements took $((SECONDS - started)) s"
