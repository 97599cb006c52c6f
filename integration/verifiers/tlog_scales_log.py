"""Verifies an exported log with tlog-scales: its checkpoint, the root by its tiles, and the inclusion of each entry."""

import pathlib
import sys

from tlog_scales import signing, tiles
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader

folder, key = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
vkey = signing.Vkey.from_string(key.read_text().strip())
reader = TilesReader(LocalBackend(folder))
checkpoint = reader.get_checkpoint()
checkpoint.verify(vkey)
if (folder / "checkpoint").read_text() != checkpoint.serialize() or checkpoint.origin != vkey.name:
    sys.exit("the checkpoint is no head of " + vkey.name)
if reader.calculate_root_hash() != checkpoint.root_hash:
    sys.exit("the tiles have another root than the checkpoint")
for index in range(checkpoint.size):
    entry = reader.get_entry(index)
    reader.get_inclusion_proof(index, checkpoint.size).check(tiles.leaf_hash(entry), checkpoint.root_hash)
print(checkpoint.size)
