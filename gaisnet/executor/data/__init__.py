"""The private data of devices, held-out data and requests: files, checks and batches."""

from gaisnet.executor.data.expect import DataFormat, Use
from gaisnet.executor.data.files import load_shard
from gaisnet.executor.data.shard import Batch, Shard, concatenate

__all__ = ["Batch", "DataFormat", "Shard", "Use", "concatenate", "load_shard"]
