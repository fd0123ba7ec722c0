"""CPU time of `import regrow` and `regrow --help`, beside another build of Regrow if one is named.

    python benchmarks/front_door.py [OTHER_PYTHON]

OTHER_PYTHON is the interpreter of a virtual environment with that build. All take turns, nine times, with bytecode
compiled; an empty interpreter is the ground that nothing can go below. Takes less than a minute.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 9
SCRIPT = "regrow"  # beside the interpreter
WAYS = {
    "nothing": ("-c", "pass"),
    "import regrow": ("-c", "import regrow"),
    "regrow --help": (SCRIPT, "--help"),
}


def cpu_seconds(python: str, arguments: tuple[str, ...], cache: str) -> float:
    """User and system time of a process of ``python``, its bytecode in the folder ``cache``."""
    command = (
        [str(Path(python).with_name(SCRIPT)), *arguments[1:]]
        if arguments[0] == SCRIPT
        else [python, *arguments]
    )
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        env={**inherited, "PYTHONPYCACHEPREFIX": cache},
        cwd=cache,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each way, a column for each build."""
    builds = {"this": sys.executable} | ({"other": sys.argv[1]} if sys.argv[1:] else {})
    print(f"{'':16}{''.join(f'{name:>8}' for name in builds)}   (seconds of CPU, medians of {ROUNDS})")
    with tempfile.TemporaryDirectory() as root:
        for name in builds:
            (Path(root) / name).mkdir()
        for way, arguments in WAYS.items():
            times: dict[str, list[float]] = {name: [] for name in builds}
            for _ in range(ROUNDS + 1):
                for name, python in builds.items():
                    times[name].append(cpu_seconds(python, arguments, str(Path(root) / name)))
            # The first round has compiled the bytecode.
            shown = "".join(f"{statistics.median(series[1:]):8.3f}" for series in times.values())
            print(f"{way:16}{shown}")


if __name__ == "__main__":
    main()
