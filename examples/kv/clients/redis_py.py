"""redis-py against the server on the port that is the first argument: its defaults, and both protocols."""

import sys

import redis


def drive(**options):
    client = redis.Redis(port=int(sys.argv[1]), **options)
    assert client.ping()
    client.delete("py", "py:n", "py:none")
    value = bytes(range(256)) * 100
    assert client.set("py", value) is True
    assert client.get("py") == value
    assert client.get("py:none") is None
    assert [client.incr("py:n"), client.incrby("py:n", 41), client.decr("py:n")] == [1, 42, 41]
    assert client.decrby("py:n", 40) == 1
    assert client.exists("py", "py:n") == 2
    replies = client.pipeline(transaction=False).set("py", "1").incr("py").get("py").execute()
    assert replies == [True, 2, b"2"], replies
    assert client.info()["standing"] == "serving"
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.client_id() > 0
    try:
        client.execute_command("NONE")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error
    else:
        raise AssertionError("an unknown command was answered")
    client.close()


def count_through_swaps():
    """Counts until all swaps are over. What is not acknowledged once, in its turn, is noticed."""
    client = redis.Redis(port=int(sys.argv[1]))
    count = 0
    while client.get("swapped") is None:
        count += 1
        assert client.incr("count") == count
    return count


drive()
drive(protocol=2)
drive(protocol=3, client_name="named", decode_responses=False)
print("redis-py", redis.__version__, "counted to", count_through_swaps(), "through swaps")
