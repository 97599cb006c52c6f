"""Shows the heads that standard input has to a witness, as the client of aics-witness does, and prints what came of each.

In: {"url", "vkey", "state", "heads": [{"note", "proofs": {"OLD": [base64, ...]}}]}; out: a line of JSON for each head.
"""

import base64
import json
import sys

from aics_witness.feeder import FeederError, WitnessClient

told = json.load(sys.stdin)
with WitnessClient(told["url"], told["vkey"], state_path=told["state"], max_attempts=1) as client:
    for head in told["heads"]:

        def proof(old, new, head=head):
            return [base64.b64decode(line) for line in head["proofs"][str(old)]]

        try:
            said = {"line": client.submit(head["note"], proof)}
        except FeederError as error:
            said = {"error": type(error).__name__, "says": str(error)}
        print(json.dumps(said))
