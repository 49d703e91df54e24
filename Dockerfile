# The workflow with everything that it needs, at the pinned versions:
#     docker build -t das . && docker run --rm -v "$PWD/results:/das/results" das --cores all demo
FROM python:3.11-slim
WORKDIR /das
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY . .
ENTRYPOINT ["snakemake"]
