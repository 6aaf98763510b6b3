"""The words by which a metric's key tells whether more is better, or less.

All are in lower case and in the singular. An entry of several words is a phrase: it stands for itself and goes
before its parts (``explained variance`` is good, a ``variance`` says nothing). docs/reference/directions.md lists
them all.
"""

from __future__ import annotations


def _entries(text: str) -> frozenset[str]:
    return frozenset(entry.strip() for entry in text.replace("\n", ",").split(",") if entry.strip())


#: What gets better as it falls.
FALLING = _entries("""
    loss, log loss, error, errors, err, mse, rmse, rmsle, msle, mae, mape, smape, wape, wmape, mdape, mdae, medae, mase
    rmsse, msis, owa, nrmse, rrmse, mphe, sse, sae, mad, absolute deviation, absolute difference, residual sum
    root mean squared log, nll, nloglik, negloglik, logloss, mlogloss, crossentropy, cross entropy, bce, ce, nce
    infonce, xent, xe, hinge, huber, logcosh, log cosh, pinball, expectile, deviance, crps, mql, wql, winkler
    interval score, dawid sebastiani, energy score, theil, theil u, perplexity, ppl, bpb, bpc, bpd, bit per byte
    bit per char, bit per character, bit per dim, bit per token, nat per token, nat per dim, kl, kld, kl div
    kl divergence, kullback leibler, divergence, jsd, wasserstein, emd, mmd, swd, dtw, frechet, chamfer, hausdorff
    hd, hd95, assd, asd, levenshtein, edit distance, hamming, minkowski distance, distance to goal, aic, aicc, bic
    hqic, waic, brier, ibs, ece, mce, uce, rmsce, miscalibration, overconfidence, calibration gap
    false positive rate, false negative rate, false acceptance rate, false accept rate, false rejection rate, eer
    hter, fpr, fnr, fdr, frr, apcer, bpcer, false, misclassification, mistake, wrong, incorrect, dcf, mindcf, wer
    cer, der, ser, jer, mer, ter, ber, mcd, thd, fid, kid, lpips, niqe, brisque, piqe, epe, aepe, nme, mpjpe
    pampjpe, abs rel, sq rel, ade, fde, minade, minfde, idsw, id switch, rpe, spurious, davies bouldin, dbi, inertia
    wcss, distortion, impurity, xie beni, regret, suboptimality, infeasibility, violation, collision, crash, gap
    disparity, forgetting, degradation, drift, psi, parity difference, odds difference, opportunity difference
    discrepancy, dissimilarity, staleness, toxicity, toxic, hallucination, contradiction, harmfulness, harmful
    maliciousness, misogyny, criminality, stereotype, stereotyping, insensitivity, insult, profanity, unsafe
    jailbreak, leakage, leak, sycophancy, deception, repetition, redundancy, self bleu, grade level, spam, prejudice
    failure, failed, fail, fault, exception, miss, missed, missing, invalid, timed out, bug, defect, incident
    outage, dropped, lost, corruption, corrupted, downtime, latency, duration, runtime, time, elapsed, ttft, tpot
    itl, tbt, e2el, rtf, real time factor, rtt, delay, wait, waiting, overhead, jitter, slowdown, stall, backlog
    lateness, mttr, mttd, ping, lag, cost, expense, spend, spending, churn, bounce, attrition, drawdown, cac, cpa
    cpc, cpm, cpl, refund, chargeback, complaint, abandonment, unsubscribe, stockout, shortage, waste, scrap
    shrinkage, overstock, delinquency, burn rate, patch similarity, info lost, edit rate, fall out, timeouts
    timeout rate, timeout count, sale outstanding, carbon, emission, co2, footprint, energy consumed
    energy consumption, power consumption, fuel consumption, consumption, negative likelihood ratio, mean rank
    average rank, avg rank, median rank, inception distance, spectral angle, rae, rse, rrse, rmsd, aurc, eaurc
    augrc, ause, detractor, breach, breached, energy kwh, energy wh, energy joule, model size kb, model size mb
    model size gb, model size byte, null ratio, null rate, null fraction, null share, null percentage, null pct
""")

#: What gets better as it rises.
RISING = _entries("""
    signal distortion, signal noise, intelligibility, info preserved, distinct, codebleu, true pos, true neg, auuc
    qini, au roc, au pr, mar, c statistic, tversky, phi coefficient, sari, order value, cagr, arr, ebitda, accuracy
    acc, acc norm, precision, prec, recall, f1, f2, fbeta, f beta, fscore, f score, fmeasure, f measure, auc, auroc
    auprc, aupr, aucpr, rocauc, roc auc, pr auc, average precision, ap, sensitivity, specificity, tpr, tnr, ppv, npv
    predictive value, positive predictive value, negative predictive value, true positive rate, true negative rate
    true acceptance rate, true accept rate, true positive, true negative, true accept, true acceptance, true match
    true detection, mcc, corrcoef, kappa, wkappa, qwk, youden, informedness, markedness, gmean, g mean
    normalized gini, jaccard, hit, hr, top1, top3, top5, top10, correct, positive likelihood ratio, likelihood
    loglik, llh, elbo, elpd, evidence lower bound, ndcg, dcg, cumulative gain, map, mrr, reciprocal rank, arhr
    pfound, cmc, catalog coverage, item coverage, user coverage, r2, d2, q2, rsquared, r squared, r square
    explained variance, explained var, variance explained, correlation, corr, pearson, pearsonr, spearman, spearmanr
    kendall, kendalltau, kendall tau, spearman rho, pearson r, correlation coefficient, matthews coefficient
    dice coefficient, jaccard coefficient, silhouette coefficient, overlap coefficient, dice coef, jaccard coef
    corr coef, correlation coef, ccc, plcc, srcc, krcc, concordance, cindex, c index, rank ic, icir, iou, io u, miou
    giou, dice, dsc, pck, oks, mota, motp, hota, idf1, panoptic quality, quality, psnr, ssim, msssim, vif
    inception score, vmaf, cider, spice, clip score, clip similarity, similarity, mos, dnsmos, utmos, nisqa, visqol
    pesq, stoi, estoi, snr, sdr, sisdr, sisnr, snri, sdri, sisdri, sisnri, signal to noise, bleu, sacrebleu, gleu
    rouge, rougel, rougelsum, rougen, rouge l, chrf, meteor, bertscore, bleurt, comet, moverscore, bartscore
    exact match, em, squad, pass, passed, entailment, faithfulness, faithful, groundedness, grounded, relevance
    relevant, relevancy, coherence, fluency, consistency, helpfulness, helpful, harmlessness, harmless, correctness
    completeness, conciseness, safety, safe, professionalism, factuality, truthfulness, readability, validity
    uniqueness, qed, engagingness, adherence, informativeness, mmlu, hellaswag, gsm8k, humaneval, truthfulqa, elo
    silhouette, calinski harabasz, ari, nmi, ami, adjusted rand, rand index, mutual info, mutual information
    homogeneity, v measure, fowlkes mallows, purity, dunn, dbcv, gap statistic, vmeasure, reward, rew, return, win
    winrate, success, successful, solved, solve, fitness, hypervolume, efficiency, robustness, agreement, utility
    fidelity, effectiveness, performance, reliability, bwt, fwt, backward transfer, forward transfer, fps, sps, qps
    rps, tps, throughput, goodput, speedup, bandwidth, training speed, inference speed, processing speed, uptime
    availability, survival time, time alive, watch time, dwell time, session duration, time on site, time on page
    on time, time between failure, time to failure, mtbf, mttf, parity ratio, odds ratio difference
    opportunity ratio, equalized odds ratio, revenue, profit, profit loss, profit and loss, win loss, pnl, income
    earning, sale, gmv, aov, arpu, arppu, ltv, clv, lifetime value, conversion, ctr, cvr, click through
    clickthrough, roi, roas, roe, irr, retention, stickiness, engagement, nps, csat, promoter, satisfaction, growth
    signup, subscriber, active user, dau, mau, wau, gross margin, profit margin, operating margin, net margin
    contribution margin, profit factor, sharpe, sortino, calmar, information ratio, omega ratio, expectancy
    fill rate, service level, uplift, lift, improvement, saving, information gain, average gain, yield
    completion rate, response rate, detection rate, adoption, skill score, crpss, rpss, attainment, compliance
    slo met, sla met, prauc, cramer v, tschuprow t, contingency coefficient, bpref, llf, trustworthiness, uas
    dep las, mauve, lddt, plddt, gdt, goal reached, icc
""")

#: What says nothing by itself, whatever stands before it: settings, amounts, positions, spreads.
SILENT = _entries("""
    lr, learning rate, momentum, decay, dropout, alpha, beta, gamma, epsilon, eps, lambda, tau, temperature, seed
    threshold, patience, warmup, coef, coeff, coefficient, weight, scale, factor, budget, limit, quota, window
    horizon, version, id, code, entropy, norm, approx kl, approxkl, target kl, mean kl, kl penalty, clip, clipped
    clipfrac, clip fraction, chosen, rejected, logit, logp, length, len, size, width, height, depth, dim, dimension
    param, parameter, tokens, steps, timesteps, timestep, iterations, iters, updates, episodes, epochs, memory
    utilization, utilisation, util, usage, temp, flop, flos, byte, support, bias, coverage, sharpness, slope
    intercept, confidence, uncertainty, anomaly, outlier, risk, novelty, attention, z, credit, propensity
    difference, diff, delta, change, rank, value, values, timestamp, interval, timeout, ttl, price, volatility
    turnover, stop loss, weight loss, loss aversion, standard error, standard deviation, disparate impact
    likelihood ratio, time step, time index, time window, time limit, time budget, time since, time elapsed
    time total, start time, end time, created time, creation time, event time, current time, time zone, time stamp
    audio duration, video duration, clip duration, media duration, audio, video, sampling rate, sample rate
    frame rate, bit rate, update rate, clip rate, mutation rate, crossover rate, acceptance rate, accept rate
    selection rate, positive rate, return rate, exploration rate, discount, interest rate, tax rate, base rate
    event rate, attack success, attack, log score, log prob, autocorrelation, variance, var, std, stddev, stdev
    stderr, sem, iqr, skew, skewness, kurtosis, quantile, argmin, argmax, p value, pvalue, correlation length
    clustering coefficient, precision mode, mixed precision, time series, explained, refusal, speed, position
    objective kl, policy kl, jailbreak success, injection success, fraud, difficulty, severity, complexity
    suspicion, threat, scaler, type, nan, inf, importance, saliency, sentiment, signed difference, bias error
    percentage bias, standard errors, mean percentage error, mean forecast error, signed error, slo, sla
    docking score, vina score, sa score, synthetic accessibility
""")

#: What counts as a fault even when it is only counted.
FAULTS = _entries("""
    error, errors, failure, failed, fault, exception, violation, crash, collision, mistake, defect, bug, incident
    hallucination, invalid, dropped, lost, id switch, misclassification, outage, complaint, refund, false, breach
""")

#: Of what falls or rises, what tells of time, money or speed, not of the quality of a model.
RESOURCES = _entries("""
    latency, duration, runtime, time, elapsed, ttft, tpot, itl, tbt, e2el, rtf, real time factor, rtt, delay, wait
    waiting, overhead, jitter, slowdown, stall, lag, ping, cost, expense, spend, carbon, emission, co2, footprint
    energy consumed, energy consumption, energy kwh, energy wh, energy joule, model size kb, model size mb
    model size gb, model size byte, power consumption, consumption, fps, sps, qps, rps, tps, throughput
    goodput, speedup, bandwidth, training speed, inference speed, processing speed, uptime
""")

#: A spread of values is no value: these make a key say nothing wherever they stand.
SPREADS = _entries("std, stddev, stdev, stderr, sem, iqr, variance, var, skew, skewness, kurtosis")

#: What says something only if nothing but neutral words stands beside it.
ALONE_FALLING = _entries("l1, l2, poisson, tweedie, far, per, fair, multiclass, multiclassonevsall")
ALONE_RISING = _entries("is, ar, ic, sir, sar, las")

#: Words that change nothing: parts of the data, ways to average.
NEUTRAL = _entries("""
    learn, train, training, val, valid, validation, test, testing, eval, evaluation, dev, holdout, oof, cv, metric, mean
    avg, average, min, max, median, sum, last, best, final, macro, micro, weighted, total, overall, global, running
    ema, smoothed, epoch, batch, v, step, iteration, iter
""")

#: Of these, what may stand between ``1-`` and a metric: ``1-step_mae`` is no complement.
AVERAGED = _entries("mean, avg, average, macro, micro, weighted, train, val, valid, validation, test, eval")

#: Units of time: what is measured in them, and says nothing else, is a duration.
UNITS = _entries("second, sec, ms, msec, millisecond, us, usec, microsecond, ns, minute, hour")

#: What a throughput is divided by.
PER = UNITS | _entries("s, hr, day, watt, joule, dollar, usd, h, m")
MONEY = _entries("dollar, usd, eur, cent")

COUNTS = _entries("num, nb, number, count, cnt, counter")
NEGATED = _entries("neg, negative, minus, inverse, inv")
#: ``negative_f1`` may be that of the negative class, and ``neg_loss`` that of the negative examples.
OF_A_CLASS = _entries("loss, accuracy, acc, precision, prec, recall, f1, hit, reward, return, similarity")
CLASSES = _entries("class, sample, pair, label, example, anchor")
#: Of what rises, what makes a loss: ``loss_dice``.
MADE_LOSSES = _entries(
    "dice, iou, giou, jaccard, tversky, ssim, msssim, psnr, similarity, likelihood, correlation, pearson, reward"
)
NOT = _entries("no, non, not")
#: What turns what stands before it.
TURNED = _entries("reduction, reduced, saved, avoided, prevented, free, decrease, drop")
#: What counts as done when it is gone, and the words for that: ``bugs_fixed``, ``gap_closed``.
REMOVABLE = _entries("""
    errors, failure, fault, exception, violation, crash, collision, mistake, defect, bug, incident, hallucination
    misclassification, outage, complaint, gap, leak
""")
REMOVED = _entries("""
    fixed, fix, corrected, correction, closed, resolved, solved, removed, removal, eliminated, repaired, recovered
    mitigated
""")
#: A loss of these is a surrogate, or that of one of two adversaries: it tells nothing of how good either is.
SURROGATES = _entries("""
    policy, gradient, pg, pi, actor, entropy, surrogate, ppo, grpo, trpo, rloo, reinforce, alpha, coef, coeff, d, g
    generator, gen, discriminator, disc, adversarial, adv, gan
""")
#: Measures of error of which a skill score is made.
SKILLED = _entries("mse, rmse, mae, mape, nll, brier, crps, rps, error, forecast")
TARGETS = _entries("slo, sla")
PREPOSITIONS = _entries(
    "at, per, of, for, by, vs, versus, on, under, over, with, without, against, to, from, given, since"
)
