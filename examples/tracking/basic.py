"""One run: parameters, metrics, a figure and a model. Needs scikit-learn and matplotlib."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib import pyplot as plt
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import train_test_split

from tracking import start_experiment

mpl.use("Agg")


def main() -> None:
    features, labels = load_iris(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(features, labels, test_size=0.3, random_state=7)
    with start_experiment("my_experiment", "run_001") as exp:
        exp.log_params({"model": "logistic regression", "C": 0.5, "test_size": 0.3})
        losses = []
        for steps in range(1, 31):
            model = LogisticRegression(C=0.5, max_iter=steps, warm_start=True).fit(train_x, train_y)
            losses.append(log_loss(test_y, model.predict_proba(test_x)))
            exp.log_metric("val_loss", losses[-1], step=steps)
        predicted = model.predict(test_x)
        exp.log_metrics({"accuracy": model.score(test_x, test_y), "f1": f1_score(test_y, predicted, average="macro")})
        figure, axes = plt.subplots()
        axes.plot(losses)
        exp.log_figure(figure, "val_loss")
        exp.log_model(model, "classifier")
        exp.set_tags({"stage": "candidate"})


if __name__ == "__main__":
    main()
