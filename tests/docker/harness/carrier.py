"""carrier.py SOCKET PORT: carries connections to 127.0.0.1:PORT on to a unix socket. Standard library only: it
runs in a sandbox with the system's Python."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Streams, other: Streams) -> None:
    """Carries bytes both ways until both sides have ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    await asyncio.gather(carry(one[0], other[1]), carry(other[0], one[1]))


async def carry_to(path: Path, port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), await asyncio.open_unix_connection(path))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(carry_to(Path(sys.argv[1]), int(sys.argv[2])))
