# The collector for Cloud Run or any host that runs containers: all routes, at port 8080.
#
#   docker build -t profbucket .
#   docker run -p 8080:8080 -v profiles:/profiles -e PROFBUCKET_KEYS="$KEYS" profbucket
#   docker run profbucket key create
FROM python:3.13-slim

# What changes seldom first: the layer with the packages is made anew only when a pin changes.
COPY requirements.txt /src/
RUN python -m pip install --no-cache-dir --requirement /src/requirements.txt

COPY pyproject.toml README.md LICENSE /src/
COPY functions/ /src/functions/
COPY profbucket/ /src/profbucket/
COPY storage_gcs/ /src/storage_gcs/
COPY storage_local/ /src/storage_local/
COPY storage_s3/ /src/storage_s3/
RUN python -m pip install --no-cache-dir --no-deps /src

# By number, so that an orchestrator sees that it is not root. Only /profiles and /tmp are written to.
RUN install --directory --owner=10001 --group=10001 /profiles
USER 10001:10001
WORKDIR /profiles
VOLUME /profiles

# Unbuffered, so that the last lines before an end are in the log.
ENV STORAGE_URL=file:///profiles PYTHONUNBUFFERED=1
EXPOSE 8080

# Without PROFBUCKET_KEYS or PROFBUCKET_ANONYMOUS=1 it serves the machine it runs on: in a container, no one.
ENTRYPOINT ["profbucket"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
