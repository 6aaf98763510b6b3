"""One exporter that keeps the contract, and many that each break it in one way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

import grpc
import orjson
from pydantic import SecretStr

from mlflow_monitoring_exporter.http import HttpClient, HttpFailedError
from mlflow_monitoring_exporter.plugin import (
    Batch,
    BatchExporterConfig,
    Credentials,
    Deadline,
    Endpoint,
    ExportError,
    HttpSettings,
    PermanentExportError,
    RetryableExportError,
    Sample,
)


class GoodConfig(HttpSettings, BatchExporterConfig):
    type: Literal["good"]
    endpoint: str
    api_key: SecretStr


class Good:
    """An exporter that keeps the contract."""

    def __init__(self, config: GoodConfig) -> None:
        self.config = config
        self.endpoint = Endpoint(config.endpoint, config, credentials=Credentials())

    def start(self) -> None: ...

    def check(self) -> None:
        answer = self.endpoint.send("OPTIONS")
        if not self.endpoint.reached(answer):
            raise self.error(answer)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        body = orjson.dumps({"metrics": [self.record(sample) for sample in payload.samples]})
        answer = self.endpoint.send("POST", deadline=deadline, body=body, headers=self.headers(payload))
        if not answer.ok:
            raise self.error(answer)

    def record(self, sample: Sample) -> Mapping[str, Any]:
        return {"name": sample.key, "step": sample.step, "time": sample.timestamp_ms}

    def headers(self, payload: Batch) -> Mapping[str, str]:
        return {"Idempotency-Key": payload.batch_id}

    def error(self, answer: Any) -> ExportError:
        refusal = self.endpoint.refusal(answer, keyed=True)
        return type(refusal)(f"HTTP {answer.status}")

    def close(self) -> None:
        self.endpoint.close()


class Optimist(Good):
    """Believes that all is well."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        with suppress(ExportError):
            super().export(payload, deadline=deadline)


class Pessimist(Good):
    """Gives up at once."""

    def error(self, answer: Any) -> ExportError:
        return PermanentExportError(f"HTTP {answer.status}")


class Patient(Good):
    """Does not look at the clock."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        super().export(payload, deadline=Deadline.after(2))


class Forgetful(Good):
    """Gives each delivery a key of its own."""

    def headers(self, payload: Batch) -> Mapping[str, str]:
        return {"Idempotency-Key": str(time.monotonic_ns())}


class Keyless(Good):
    """Sends no key."""

    def headers(self, payload: Batch) -> Mapping[str, str]:
        return {}


class Uniform(Good):
    """Has one key for every batch."""

    def headers(self, payload: Batch) -> Mapping[str, str]:
        return {"Idempotency-Key": "metrics"}


class Stepless(Good):
    """Sends the step that its author tried it with."""

    def record(self, sample: Sample) -> Mapping[str, Any]:
        return {**super().record(sample), "step": 0}


class Timeless(Good):
    """Sends the time that its author tried it at."""

    def record(self, sample: Sample) -> Mapping[str, Any]:
        return {**super().record(sample), "time": 1_790_000_000_000}


class Present(Good):
    """Sends the time at which it sends."""

    def record(self, sample: Sample) -> Mapping[str, Any]:
        return {**super().record(sample), "time": time.time_ns()}


class Hanging(Good):
    """Waits for what never comes."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        self.wait_for_a_free_slot()

    def wait_for_a_free_slot(self) -> None:
        threading.Event().wait(20)


class Eager(Good):
    """Cannot wait to be started."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        super().check()


class Dialling(Good):
    """Wants to know early whether anybody is there."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        where = urlsplit(config.endpoint)
        socket.create_connection((where.hostname, where.port)).close()


class Compiled(Good):
    """Does so with a client whose sockets are not Python's."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        with grpc.insecure_channel(urlsplit(config.endpoint).netloc) as channel, suppress(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=0.5)


class Talkative(Good):
    """Says everything."""

    def error(self, answer: Any) -> ExportError:
        return type(super().error(answer))(f"{answer.body!r} for {self.config.api_key.get_secret_value()}")


class Littering(Good):
    """Leaves a thread behind."""

    def start(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()


class Fragile(Good):
    """Breaks on what is odd."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        for sample in payload.samples:
            sample.key.encode("ascii")
        super().export(payload, deadline=deadline)


class Probing(Good):
    """Delivers in order to see whether it could."""

    def check(self) -> None:
        super().check()
        self.export(Batch("probe", 0, [None]), deadline=Deadline.after(1))  # type: ignore[list-item]

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        if payload.samples[0] is None:
            self.endpoint.send("POST", deadline=deadline, body=b'{"metrics": [1]}', headers={"Idempotency-Key": "p"})
        else:
            super().export(payload, deadline=deadline)


class Blind(Good):
    """Finds everything well."""

    def check(self) -> None: ...


class Sloppy(Good):
    """Raises what others raise."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            super().export(payload, deadline=deadline)
        except RetryableExportError as error:
            raise TimeoutError(str(error)) from None


class Hasty(Good):
    """Hears the beginning of an answer."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            super().export(payload, deadline=deadline)
        except RetryableExportError as error:
            if "cut short" not in str(error):
                raise


class Credulous(Good):
    """Believes every status."""

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        with suppress(RetryableExportError):
            super().export(payload, deadline=deadline)


class Impatient(Good):
    """Does not want an answer to be long."""

    def __init__(self, config: GoodConfig) -> None:
        super().__init__(config)
        self.client = HttpClient(max_body=1000)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        try:
            self.client.request("POST", self.config.endpoint, deadline=deadline, body=b'{"metrics": [1, 2, 3]}')
        except HttpFailedError as error:
            raise RetryableExportError(str(error)) from None


class Resigned(Good):
    """Takes a batch that is in work for one that is refused."""

    def error(self, answer: Any) -> ExportError:
        return self.endpoint.refusal(answer)


class Strict(Good):
    """Wants to be asked in the only right way."""

    def check(self) -> None:
        answer = self.endpoint.send("OPTIONS")
        if not answer.ok:
            raise self.error(answer)
