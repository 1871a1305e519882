"""moto's SNS on loopback, which checks signatures as IAM does, with a queue that gets what is published to a topic.

    python3 sns_server.py

Prints a line of JSON with port, topic, access_key and secret_key, then one for each message that the queue got.
"""
import json
import logging
import os
import time

# Calls before moto checks signatures: those below up to the subscription.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "7"

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]


def client(service, access="none", secret="none"):
    return boto3.client(service, endpoint_url=f"http://127.0.0.1:{port}", region_name="eu-west-1", aws_access_key_id=access,
                        aws_secret_access_key=secret)


iam, sns, sqs = client("iam"), client("sns"), client("sqs")
iam.create_user(UserName="kops")
iam.put_user_policy(UserName="kops", PolicyName="all", PolicyDocument=json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
key = iam.create_access_key(UserName="kops")["AccessKey"]
topic = sns.create_topic(Name="alerts")["TopicArn"]
queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
print(json.dumps({"port": port, "topic": topic, "access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}),
      flush=True)
sqs = client("sqs", key["AccessKeyId"], key["SecretAccessKey"])
while True:
    for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
        print(message["Body"].replace("\n", ""), flush=True)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    time.sleep(0.2)
