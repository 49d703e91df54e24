# The workflow with everything that it needs, at the pinned versions:
#     docker build -t das . && docker run --rm -v "$PWD:/das" das --cores all demo
# The folder is mounted, so that results, logs and the state of unfinished jobs stay when the container ends.
FROM python:3.11-slim
WORKDIR /das
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY . .
ENTRYPOINT ["snakemake"]
