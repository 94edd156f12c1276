"""``LiveStream`` beside GStreamer's udpsrc ! rtpvrawdepay: the same sender in another process, in turns; CPU compared.

Our sender hands the kernel many datagrams at once (UDP_SEGMENT). GStreamer's receiver gets them one by one, since the
kernel cuts them apart for it: what a peer without UDP_GRO would get from any sender. Senders that send single datagrams
are the rows from GStreamer and FFmpeg.

Compared is CPU, not time, so that other work on the machine counts less: of one core where the other column is a
limit, for each frame that was given where it is GStreamer. Lost packets, the receive buffer and the sender's own CPU
are told on stderr.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from measure import Row, Size, main

from dicomlab import Broadcast, LiveStream
from dicomlab.rtv.video import VideoFormat
from tests.peers.processes import LOOPBACK, free_port

SECONDS = {1: 1.0, 3: 5.0, 7: 10.0}
HD, UHD = (1920, 1080), (3840, 2160)
_START_S = 1.0
POOL_FRAMES = 32
BUFFER_OCTETS = 512 << 20
"""What we ask for; without the right to administer the network, ``rmem_max`` is what one gets."""


def even_port() -> int:
    while (port := free_port()) % 2:
        pass
    return port


# ------------------------------------------------------------------------------------------------- processes


def send(width: int, height: int, port: int, seconds: float, metadata: bool, rate: float) -> None:
    """The sender: random packed frames, paced; prints what it did and took."""
    video = VideoFormat(width, height)
    noise = np.random.default_rng(1)
    frames = [noise.integers(0, 256, video.frame_octets, np.uint8) for _ in range(4)]
    cast = Broadcast(frames, format=video, rate_hz=rate, port=port, loop=True, metadata=metadata, PatientID="BENCH")
    began, cpu = time.perf_counter(), time.process_time()
    with cast:
        cast.wait(seconds)
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        told = {"cpu": cpu / took, "frames": cast.sent, "skipped": cast.skipped}
    print(json.dumps(told))


def sender(size: tuple[int, int], port: int, seconds: float, *, metadata: bool = False, rate: float = 60) -> Any:
    arguments = ["--send", *map(str, size), str(port), str(seconds), str(int(metadata)), str(rate)]
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)


def peer_sender(name: str, size: tuple[int, int], port: int, seconds: float) -> Any:
    """GStreamer or FFmpeg as a sender of single datagrams, 4:2:2 of 8 bit (what both send from a test picture)."""
    width, height = size
    count = int(seconds * 60)
    lines = {
        "gstreamer": (
            f"gst-launch-1.0 -q videotestsrc pattern=black num-buffers={count} is-live=true ! video/x-raw,format=UYVY,"
            f"width={width},height={height},framerate=60/1 ! rtpvrawpay pt=96 mtu=1452 ! udpsink host={LOOPBACK}"
            f" port={port} buffer-size=8000000"
        ),
        "ffmpeg": (
            f"ffmpeg -loglevel error -re -f lavfi -i color=size={width}x{height}:rate=60 -frames:v {count}"
            f" -pix_fmt uyvy422 -c:v rawvideo -payload_type 96 -f rtp rtp://{LOOPBACK}:{port}?pkt_size=1452"
        ),
    }
    return subprocess.Popen(lines[name].split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def gstreamer_receives(size: tuple[int, int], port: int, source: Any) -> dict[str, float]:
    """CPU of udpsrc ! rtpvrawdepay, and how many frames it gave."""
    caps = (
        "application/x-rtp,media=video,clock-rate=90000,encoding-name=RAW,payload=96,sampling=(string)YCbCr-4:2:2,"
        f"depth=(string)10,width=(string){size[0]},height=(string){size[1]}"
    )
    line = (
        f"gst-launch-1.0 -v udpsrc address={LOOPBACK} port={port} buffer-size={BUFFER_OCTETS} caps={caps}"
        " ! rtpvrawdepay ! fakesink silent=false sync=false"
    )
    with TemporaryFile("w+") as said:
        process = subprocess.Popen(line.split(), stdout=said, stderr=subprocess.DEVNULL)
        time.sleep(_START_S)
        sending = source()
        before = _cpu_of(process.pid)
        began = time.perf_counter()
        told, _ = sending.communicate()
        took = time.perf_counter() - began
        cpu = _cpu_of(process.pid) - before
        process.send_signal(signal.SIGINT)
        process.wait()
        said.seek(0)
        frames = sum("chain" in one for one in said)
    return {"cpu": cpu / took, "cpu_s": cpu, "frames": frames, **_sender_row(told)}


def _cpu_of(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _sender_row(told: str | None) -> dict[str, float]:
    row = json.loads(told) if told else {}
    return {f"sender_{name}": value for name, value in row.items()}


def we_receive(
    size: tuple[int, int],
    port: int,
    source: Any,
    *,
    metadata: bool = False,
    depth: int = 10,
    record: Path | None = None,
) -> dict[str, Any]:
    """Our CPU, frames, losses and latency for one stream; spooled to `record` where that is given."""
    from dicomlab.rtv.recorder import LEFT_FRAMES, _spooled

    video = VideoFormat(*size, Fraction(60), depth=depth)
    cast = Broadcast([np.zeros(video.frame_octets, np.uint8)], format=video, port=port, metadata=metadata)
    live = LiveStream(cast, pool_frames=POOL_FRAMES, buffer_octets=BUFFER_OCTETS)
    dropped = 0
    with live:
        time.sleep(0.2)
        sending = source()
        with _spooled(record or Path("/tmp"), POOL_FRAMES - LEFT_FRAMES) as tape:
            spool = _spooling(live, tape) if record is not None else None
            cpu = time.process_time()
            for _ in live.frames(timeout_s=30):
                pass
            told = sending.communicate()[0]
            cpu = time.process_time() - cpu
            if spool is not None:
                live._taps.clear()
                tape.end()
                spool.join()
                dropped = len(tape.dropped)
        video_row = live.statistics().iloc[0]
        took = float(video_row["octets"]) * 8 / float(video_row["bit_rate_mbps"]) / 1e6  # of the stream, not of waiting
        table = live.to_dataframe()
    return {
        "cpu": cpu / took,
        "cpu_s": cpu,
        "frames": int(video_row["frames"]),
        "damaged": int(video_row["damaged"]),
        "lost": int(video_row["lost"]),
        "dropped_by_system": int(video_row["dropped_by_system"]),
        "unpaired": int(video_row["unpaired"]),
        "spool_dropped": dropped,
        "latency_ms": float(video_row.get("latency_ms", float("nan"))),
        "buffer_octets": int(video_row["buffer_octets"]),
        "paired": bool(table["paired"].all()) if metadata else None,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **_sender_row(told),
    }


def _spooling(live: LiveStream, tape: Any) -> Any:
    import threading

    thread = threading.Thread(target=tape.run)
    thread.start()
    live._taps.append(tape.take)
    return thread


# ------------------------------------------------------------------------------------------------------ rows


def note(what: str, rows: list[dict[str, Any]]) -> None:
    """Say beside the table what the ratios do not tell."""
    for row in rows:
        facts = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
        )
        print(f"    {what}: {facts}", file=sys.stderr)


def compare(what: str, size: tuple[int, int], rounds: int, seconds: float) -> Iterator[Row]:
    """The same stream to us and to GStreamer, in turns: what a frame costs, and how many come whole."""
    ours, theirs = [], []
    for turn in range(rounds):
        for who in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
            port = even_port()
            source = lambda port=port: sender(size, port, seconds)  # noqa: E731
            if who == "ours":
                ours.append(we_receive(size, port, source))
            else:
                theirs.append(gstreamer_receives(size, port, source))
    note(f"{what}, LiveStream", ours)
    note(f"{what}, GStreamer", theirs)
    names = ("LiveStream", "udpsrc ! rtpvrawdepay")
    cost = [statistics.median(_cpu_ms(one) for one in rows) for rows in (ours, theirs)]
    yield Row(f"{what}, CPU for each frame", *names, *cost, rounds, "ms")
    lost = [one["lost"] for one in ours]
    print(f"    {what}, LiveStream: packets lost {lost}, median {statistics.median(lost):g}", file=sys.stderr)
    for name, rows in zip(names, (ours, theirs), strict=True):
        whole = statistics.median(_whole_percent(one) for one in rows)
        print(f"    {what}, {name}: {whole:.1f} % of the frames sent are given whole (median)", file=sys.stderr)
    if size == UHD:
        yield against(f"{what}, CPU of the receiver", 0.8, ours, "cpu", "core")
        yield against(f"{what}, CPU of the sender", 0.6, ours, "sender_cpu", "core")


def _cpu_ms(row: dict[str, Any]) -> float:
    """CPU for each frame that was given, so that who gives fewer frames is not called cheaper."""
    return 1000 * row["cpu_s"] / max(1, row["frames"] - row.get("damaged", 0))


def _whole_percent(row: dict[str, Any]) -> float:
    return 100 * min(1.0, (row["frames"] - row.get("damaged", 0)) / max(1, row["sender_frames"]))


def against(what: str, limit: float, rows: list[dict[str, Any]], key: str, unit: str) -> Row:
    """One of our figures beside the figure that it must not pass."""
    return Row(what, "dicomlab", "must not pass", statistics.median(one[key] for one in rows), limit, len(rows), unit)


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """The jobs of the table."""
    rounds = {1: 1, 3: 1, 7: 3}[size.rounds]
    seconds = SECONDS[size.rounds]
    print(f"    receive buffer asked for: {BUFFER_OCTETS >> 20} MiB; rmem_max {_rmem_max()}", file=sys.stderr)
    if size.chosen("1080p60"):
        yield from compare("1080p60", HD, rounds, seconds)
    if size.rounds > 1:
        if size.chosen("4k60"):
            yield from compare("4K60", UHD, rounds, seconds)
        for name in ("gstreamer", "ffmpeg") if size.chosen("peers") else ():
            port = even_port()
            row = we_receive(HD, port, lambda n=name, p=port: peer_sender(n, HD, p, seconds), depth=8)
            note(f"1080p60 from {name}", [row])
            yield against(f"1080p60 of single datagrams from {name}, CPU", 1.0, [row], "cpu", "core")
        if size.rounds > 3 and size.chosen("rates"):
            held = losing(UHD, 2.0)
            print(f"    4K without loss up to: ours {held[0]:g} Hz, GStreamer {held[1]:g} Hz", file=sys.stderr)
            shortest = [1000 / one for one in held]
            yield Row("4K: shortest frame period without loss", "LiveStream", "GStreamer", *shortest, 1, "ms")
    if size.chosen("spooled"):
        paired = []
        for _ in range(rounds):
            port = even_port()
            source = lambda port=port: sender(HD, port, seconds, metadata=True)  # noqa: E731
            paired.append(we_receive(HD, port, source, metadata=True, record=scratch))
        note("1080p60 with metadata, spooled", paired)
        yield against("1080p60 with metadata, spooled, CPU", 2.0, paired, "cpu", "core")
        yield against("1080p60, sent to available", 1.5 * 1000 / 60, paired, "latency_ms", "ms")
        rate = _disk_rate(Path.cwd())
        print(f"    this disk writes {rate:.0f} MB/s; 1080p60 needs 311", file=sys.stderr)


RATES_HZ = (2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 105, 120, 150)
TRIES = 3
"""Of each, since what else this machine does would be taken for a limit of the receiver."""


def losing(size: tuple[int, int], seconds: float) -> tuple[float, float]:
    """The highest frame rate at which each still gives every frame that was sent, no packet missing."""
    return _highest(size, seconds, "ours"), _highest(size, seconds, "theirs")


def _highest(size: tuple[int, int], seconds: float, who: str) -> float:
    best = 0.1
    for rate in RATES_HZ:
        tries = []
        for _ in range(TRIES):
            port = even_port()
            source = lambda port=port, rate=rate: sender(size, port, seconds, rate=rate)  # noqa: E731
            row = we_receive(size, port, source) if who == "ours" else gstreamer_receives(size, port, source)
            note(f"{rate} Hz, {who}", [row])
            whole = not row.get("lost", 0) and row["frames"] >= row["sender_frames"]
            tries.append(row["sender_frames"] / seconds if whole else 0.0)
            if tries[-1] > 0.9 * rate:
                break
        if not any(tries):
            return best
        best = max(best, min(rate, max(tries)))
        if max(tries) < 0.75 * rate:
            print(f"    {rate} Hz: more than the sender gives here; no limit of {who} was found", file=sys.stderr)
            return best
    return best


def _rmem_max() -> str:
    limit = Path("/proc/sys/net/core/rmem_max")
    return f"{int(limit.read_text()) >> 10} KiB" if limit.exists() else "unknown"


def _disk_rate(folder: Path) -> float:
    block = os.urandom(1 << 22)
    with TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(32):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return 32 * 4.194304 / (time.perf_counter() - began)


if __name__ == "__main__":
    if "--send" in sys.argv:
        at = sys.argv.index("--send")
        w, h, to, lasts, told, hz = sys.argv[at + 1 : at + 7]
        send(int(w), int(h), int(to), float(lasts), bool(int(told)), float(hz))
    else:
        main(bench, peers=["gstreamer", "ffmpeg"])
