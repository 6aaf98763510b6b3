"""One way to speak HTTP, for the source and for exporters.

``requests`` leaves five things to its user, and each has lost data in the field: half an answer counts as one
(:mod:`~mlflow_monitoring_exporter.http.framing`); its timeouts are
per read, so a server that drips one byte a second is waited for without end; a redirected POST
becomes a GET that answers 200; credentials in ``~/.netrc`` silently replace ours; and its error
texts repeat the URL with the password in it. Here a request has a total deadline (when it passes,
a timer cuts the connection, which ends any read), a redirect is an answer like any other, only our
own credentials are sent, and errors are plain sentences.
"""

from mlflow_monitoring_exporter.http.client import HttpClient
from mlflow_monitoring_exporter.http.credentials import Credentials, display_url
from mlflow_monitoring_exporter.http.response import HttpFailedError, HttpResponse

__all__ = ["Credentials", "HttpClient", "HttpFailedError", "HttpResponse", "display_url"]
