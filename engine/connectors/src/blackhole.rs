//! Takes rows and forgets them: `'connector' = 'blackhole'`.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::Schema;

use crate::options::OptionReader;

const NAME: &str = "blackhole";

/// Takes rows and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlackholeSink;

impl SinkConnector for BlackholeSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        Ok(OptionReader::new(NAME, options).finish()?)
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        _context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        self.validate(&spec.options, schema)?;
        Ok(Box::new(BlackholeWriter))
    }
}

struct BlackholeWriter;

impl SinkWriter for BlackholeWriter {
    fn write(&mut self, _batch: Batch) -> Result<WriterStatus, Failure> {
        Ok(WriterStatus::Ready)
    }

    fn flush(&mut self, _end_of_input: bool) -> Result<WriterStatus, Failure> {
        Ok(WriterStatus::Ready)
    }
}
