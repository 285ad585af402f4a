"""Mints a token for each business of a list, with a progress bar.

Reads ids from standard input, one per line, and writes one line of JSON per token.
"""

import json
import sys

from layerfi_auth import Client, LayerAuthError
from tqdm import tqdm


def main() -> int:
    ids = sys.stdin.read().split()
    failed = 0
    # The client keeps within Layer's rate limit, with 32 requests in flight.
    client = Client.from_env()
    for result in tqdm(client.business_tokens(ids), unit=" tokens"):
        if isinstance(result, LayerAuthError):
            failed += 1
            tqdm.write(f"{result.business_id}: {result}", file=sys.stderr)
        else:
            print(json.dumps(result.to_dict()), flush=True)
    print(f"{len(ids) - failed} minted, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
