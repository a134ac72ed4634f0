"""The table of peers alone, on the tutorial's network or on another one of the grid.

python -m benchmarks.peers [--peers all] [--network "tutorial, B 128, T 50"] [--batch B] [--num-steps T]
"""

import argparse

from benchmarks import peers
from benchmarks.networks import NETWORKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="all", help=f"of {', '.join(peers.PEERS)}, with commas between")
    parser.add_argument("--network", default=peers.TUTORIAL, choices=NETWORKS, metavar="NAME", help="of the grid's")
    parser.add_argument("--batch", type=int, help="instead of the network's own")
    parser.add_argument("--num-steps", type=int, help="instead of the network's own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="the peers'; npsnn's are NPSNN_NUM_THREADS")
    args = parser.parse_args()
    try:
        names = peers.chosen(args.peers)
    except ValueError as error:
        parser.error(str(error))
    network = NETWORKS[args.network]
    network = network._replace(batch=args.batch or network.batch, num_steps=args.num_steps or network.num_steps)
    found = peers.compare(names, args.rounds, args.threads, network)
    print(f"{args.network}, run with B {network.batch}, T {network.num_steps}; {found['versions']}")
    print(peers.table(found))


if __name__ == "__main__":
    main()
