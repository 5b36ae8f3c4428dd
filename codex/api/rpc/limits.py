"""How much of everything there may be, on one connection and altogether."""

FRAME = 262_144  # bytes of data in one message: larger ones gain nothing, smaller ones cost more each byte
NUMBER = 4  # bytes of the stream's number before them
MAX_MESSAGE = FRAME + NUMBER  # bytes of a message from a client, text or binary; about 20 may wait at once

MAX_ITEMS = 64  # of an array among parameters

MAX_SOCKETS = 512  # connections; further ones are turned away with 503
MAX_REQUESTS = 64  # of a connection, without a reply yet
MAX_STREAMS = 16  # of a connection, both ways together
MAX_SUBSCRIPTIONS = 16  # of a connection

WINDOW = 1 << 20  # bytes of credit that a stream begins with: enough for 20 MB/s at 50 ms away
MAX_WINDOW = 64 << 20  # bytes of credit given at once; what is under way costs the node nothing
SMALL = 16_384  # bytes that are gathered of an upload before they are passed on

PAGE = 100  # items of a list when nothing is said
MAX_PAGE = 500
MAX_LIST = 1 << 19  # bytes of JSON after which a list ends early, so that encoding it holds nobody up

QUEUE = 256  # events kept for a slow subscriber when nothing is said
MAX_QUEUE = 4096

STALL = 300.0  # seconds without one byte moving before a stream is given up, as over HTTP
DRAIN = 4.0  # seconds that requests may still take when the node stops; transfers over HTTP get about that
FAREWELL = 5.0  # seconds for a closing connection to take what is under way, and to say goodbye
PING = 30.0  # seconds between two pings of an open connection
